"""Finding out what a host has and whether it is well. Rule: a host learns its models whenever it (re)joins.

A host that answers 503 to its health check drains: it gets no calls until it answers 200 again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from decoders.core.errors import EngineUnavailable
from server.engines.upstream.dialects import detect
from server.engines.upstream.failures import Setback
from server.engines.upstream.host import Host

log = logging.getLogger("longthink")

_NO_ROUTE = frozenset({401, 403, 404, 405, 501})
"""Answers of a server that has no health check, or none without a key of its own."""


async def discover(host: Host, wanted: str | None) -> None:
    """Ask a host for its models; one without such a list is taken to have the wanted one.

    Raises `Setback` for a host that is down, `EngineUnavailable` for one that refuses the key or lists no models.
    """
    status, found = await host.fetch("GET", f"{host.url}/models")
    if status in (401, 403):
        raise EngineUnavailable(f"{host.url} refused the API key (HTTP {status})")
    if status >= 500 or status == 429:
        raise Setback(f"/models answered HTTP {status}")
    entries = found.get("data") if isinstance(found, dict) else None
    if status != 200 or not isinstance(entries, list):
        if wanted is None:
            raise EngineUnavailable(f"{host.url} does not list its models (HTTP {status}): name one with --model")
        host.models = {wanted: None}
        return
    entries = [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
    if host.dialect is None and entries:
        host.dialect = detect(str(entries[0].get("owned_by", "")))
        host.health = host.dialect.health
    host.models = {entry["id"]: _context(entry) for entry in entries if not _is_decoder(entry)}


def _is_decoder(entry: dict[str, Any]) -> bool:
    """Whether this is a model of another longthink together with one of its decoders."""
    return entry.get("owned_by") == "longthink" and entry.get("parent") is not None


def _context(entry: dict[str, Any]) -> int | None:
    """vLLM, SGLang and longthink tell it as `max_model_len`, llama.cpp what the model was trained for."""
    meta = entry.get("meta")
    length = entry.get("max_model_len") or (meta.get("n_ctx") if isinstance(meta, dict) else None)
    return length if isinstance(length, int) and length > 0 else None


async def watch(host: Host, wanted: str | None, seconds: float, changed: Callable[[], None]) -> None:
    """Look after a host until cancelled; `changed` is called when it has joined or left."""
    while True:
        await asyncio.sleep(host.breaker.pause if host.breaker.state == "open" else seconds)
        before = (host.well, host.breaker.state)
        await look(host, wanted)
        if (host.well, host.breaker.state) != before:
            log.log(logging.INFO if host.well else logging.WARNING, "upstream %s: %s", host.url, host.state)
            changed()


async def look(host: Host, wanted: str | None) -> None:
    """One health check."""
    breaker = host.breaker
    try:
        if host.health is not None:
            await _ask(host, host.root + host.health)
        if breaker.state == "open" or host.models is None:
            await discover(host, wanted)
    except (Setback, EngineUnavailable) as error:
        if breaker.state == "open":
            breaker.unanswered(str(error))
        elif isinstance(error, Setback) and not error.down:
            breaker.failed(str(error))
        else:
            breaker.open(str(error))
        return
    if breaker.state == "open":
        host.prefixes.clear()
    breaker.answered()


async def _ask(host: Host, url: str) -> None:
    status, _ = await host.fetch("GET", url)
    host.unwell = status == 503
    if status in _NO_ROUTE:
        host.health = None  # a vendor: calls tell how it fares, and it need not be asked in between
    elif status >= 500 and not host.unwell:
        raise Setback(f"its health check answered HTTP {status}")
