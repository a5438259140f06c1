"""What other replicas have changed, over one connection. Rule: it only ever wakes; what has happened is read anew.

A notification may be lost while the connection is. Therefore each subscription, first or renewed, wakes too.
"""

from __future__ import annotations

import asyncio
import logging

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from server.store.redis.client import Client
from server.store.signals import Bell, Bells, wait

PING_SECONDS = 5.0
RETRY_SECONDS = 0.5

log = logging.getLogger(__name__)


class Listener:
    """Rings the bells of runs, and the one for releases and cancellations."""

    def __init__(self, client: Client, bells: Bells, changed: Bell) -> None:
        self._client, self._bells, self._changed = client, bells, changed
        self._runs, self._changes = f"{client.prefix}run:", f"{client.prefix}changed"
        self._asked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def ask(self) -> None:
        """Listen to whatever the bells are for now."""
        self._asked.set()
        if not self._closed and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._stay(), name="redis listener")

    async def aclose(self) -> None:
        """Listen no more."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _stay(self) -> None:
        while True:
            pubsub = self._client.redis.pubsub()
            try:
                await self._listen(pubsub)
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("listening again: %s", self._client.failure(error))
            finally:
                await pubsub.aclose()  # type: ignore[no-untyped-call]
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self, pubsub: PubSub) -> None:
        await pubsub.subscribe(self._changes)
        asking = asyncio.create_task(self._subscribe(pubsub), name="redis subscriptions")
        try:
            while True:
                message = await pubsub.get_message(timeout=3 * PING_SECONDS)
                if message is None:
                    raise TimeoutError("no sign of life")
                self._ring(message["type"], message["channel"])
        finally:
            asking.cancel()
            await asyncio.wait([asking])

    async def _subscribe(self, pubsub: PubSub) -> None:
        """Keep the subscriptions as they are wanted; one task does it, in one command for all who came meanwhile."""
        subscribed: set[str] = set()
        while True:
            self._asked.clear()
            wanted = {self._runs + name for name in self._bells.names}
            if new := wanted - subscribed:
                await pubsub.subscribe(*new)
            if old := subscribed - wanted:
                await pubsub.unsubscribe(*old)
            if not new and not old:
                await pubsub.ping()
            subscribed = wanted
            await wait(self._asked, PING_SECONDS)

    def _ring(self, kind: str, channel: bytes | None) -> None:
        if kind not in ("message", "subscribe") or channel is None:
            return
        name = channel.decode()
        if name == self._changes:
            self._changed.ring()
        else:
            self._bells.ring(name.removeprefix(self._runs))
