"""Tells the operator's URL of every run that has ended in the background, and the URL that its request named.

Rule: at least once. A delivery is kept in the store, under a lease, before the run it tells of is done; whoever takes
it over goes on trying. Receivers know a repetition by its `webhook-id`. Signed as Standard Webhooks has it, so that
OpenAI's clients can check it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import time
from collections.abc import Sequence
from contextlib import aclosing, suppress
from typing import Any

import httpx
import orjson

from decoders.core.errors import LongThinkError
from server.connections import Connected
from server.outbound import Forbidden, OutboundRules
from server.settings import Settings
from server.store.base import Lease, LeaseLost, Runs, Stored, StoreUnavailable

PATH = "webhook"
"""What stands for an API in the order of a delivery."""

_PAUSES = (1.0, 5.0, 30.0, 120.0, 600.0, 1800.0)
"""Seconds after each failed attempt; after the last one the delivery is given up."""
_TIMEOUT = 10.0
_LAST = 2**62
"""Behind every entry that a log can have."""

log = logging.getLogger("longthink")


class Webhooks:
    """Where and how to tell: the operator's `url`, and what requests name within `rules`.

    `secret` may be Standard Webhooks' `whsec_…` or any text.
    """

    @classmethod
    def of(cls, settings: Settings) -> Webhooks:
        """As the operator wants it. Raises `ValueError` for a secret or a host that is none."""
        secret = settings.webhook_secret
        key = None if secret is None else secret.get_secret_value()
        return cls(settings.webhook_url, key, OutboundRules(settings.outbound_hosts))

    def __init__(
        self,
        url: str | None,
        secret: str | None = None,
        rules: OutboundRules | None = None,
        pauses: Sequence[float] = _PAUSES,
    ) -> None:
        self._url, self._pauses = url, pauses
        self._rules = rules or OutboundRules([])
        self._key = None if secret is None else _key(secret)
        self._own = httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=False)
        self._named = self._rules.client(timeout=_TIMEOUT)

    def wanted(self, named: str) -> bool:
        """Whether there is anybody to tell of a run whose request named this URL, or none."""
        return bool(self._url or named)

    def check(self, url: str) -> None:
        """Raises `InvalidRequest` for a URL that a request may not name."""
        self._rules.check(url, "webhook_url")

    async def send(self, run: Stored) -> None:
        """Everyone is told, with as many attempts as it takes."""
        named = orjson.loads(run.order).get("webhook")
        targets = [(self._own, self._url), (self._named, named)]
        await asyncio.gather(*(self._send(client, url, run) for client, url in targets if url))

    async def _send(self, client: httpx.AsyncClient, url: str, run: Stored) -> None:
        content, id = _event(run), f"wh_{hashlib.sha256(run.id.encode()).hexdigest()[:32]}"
        for attempt, pause in enumerate((*self._pauses, None), 1):
            try:
                (await client.post(url, content=content, headers=self._headers(id, content))).raise_for_status()
                return
            except (httpx.HTTPError, Forbidden) as error:
                log.warning("webhook for %s, attempt %d: %s", run.id, attempt, type(error).__name__)
            if pause is not None:
                await asyncio.sleep(pause)
        log.error("webhook for %s given up", run.id)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._own.aclose()
        await self._named.aclose()

    def _headers(self, id: str, content: bytes) -> dict[str, str]:
        now = str(int(time.time()))
        headers = {"content-type": "application/json", "webhook-id": id, "webhook-timestamp": now}
        if self._key is not None:
            digest = hmac.digest(self._key, f"{id}.{now}.".encode() + content, "sha256")
            headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
        return headers


class Delivery:
    """One run's webhook, as work under a lease: waits for the run to end, tells, and is forgotten."""

    def __init__(self, store: Runs, webhooks: Webhooks, connected: Connected, run: str) -> None:
        self.connected = connected
        self._store, self._webhooks, self._run = store, webhooks, run

    @classmethod
    def stored(cls, run: str) -> Stored:
        """What is kept of it."""
        return Stored(f"{PATH}_{run}", b"{}", background=True, order=orjson.dumps({"path": PATH, "run": run}))

    async def work(self, lease: Lease) -> None:
        """Deliver; a replica that stops in the middle leaves it to others."""
        try:
            async with self.connected, aclosing(self._store.follow(self._run, _LAST)) as entries:
                async for _ in entries:
                    pass
                run = await self._store.get(self._run)
                if run is not None and run.done:
                    await self._webhooks.send(run)
            await self._store.delete(lease.id)
        except LeaseLost:
            return
        except LongThinkError as reason:
            log.info("webhook for %s left to others: %s", self._run, reason)
            with suppress(StoreUnavailable):
                await self._store.release(lease)


def _event(run: Stored) -> bytes:
    body: dict[str, Any] = orjson.loads(run.body)
    status = body.get("status") or body.get("longthink", {}).get("status", "completed")
    kind = body.get("object", "response")
    told = {"id": f"evt_{run.id}", "object": "event", "created_at": int(time.time()), "type": f"{kind}.{status}"}
    return orjson.dumps({**told, "data": {"id": run.id}})


def _key(secret: str) -> bytes:
    if secret.startswith("whsec_"):
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    return secret.encode()
