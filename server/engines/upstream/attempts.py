"""One call until it succeeds. Rule: it is tried again only while nothing has been generated.

On another host at once where there is one that has not been tried; else after a pause, by exponential backoff with full
jitter or as long as the host asked for.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from decoders.core.engine import Chunk
from decoders.core.errors import ContextOverflow, EngineError, EngineUnavailable, InvalidRequest
from server.engines.upstream.body import Call
from server.engines.upstream.failures import Setback, backoff, room
from server.engines.upstream.host import Host, Outcome
from server.engines.upstream.pool import Pool
from server.engines.upstream.tokens import tokenize
from server.model_options import UpstreamOptions

log = logging.getLogger("longthink")


async def attempts(pool: Pool, call: Call, first: int, options: UpstreamOptions) -> AsyncGenerator[list[Chunk], None]:
    """The chunks of a call, its completions numbered from `first`; the errors are those of `Engine.generate`."""
    tried: frozenset[str] = frozenset()
    failed, shortened = 0, False
    while True:
        host: Host | None = None
        try:
            host = await pool.acquire(call, tried)
            async with aclosing(_attempt(pool, host, call, first, options)) as batches:
                async for chunks in batches:
                    yield chunks
            return
        except InvalidRequest as refusal:
            shorter = None if shortened or host is None else await _shorter(refusal, call, host)
            if shorter is None:
                raise
            call, shortened = shorter, True
        except Setback as setback:
            failed += 1
            if failed >= options.attempts:
                raise EngineUnavailable(f"{call.model}: {setback} (tried {failed} times)") from setback
            if host is not None:
                host.retries += 1
                tried |= {host.url}
            if all(other.url in tried for other in pool.serving(call.model)):
                tried = frozenset()
                pause = backoff(failed - 1, options.backoff_seconds, options.backoff_limit_seconds, setback.wait)
                await asyncio.sleep(pause)


async def _attempt(
    pool: Pool, host: Host, call: Call, first: int, options: UpstreamOptions
) -> AsyncGenerator[list[Chunk], None]:
    """One try on a host, which is given back, and which is judged by how it ends."""
    outcome: Outcome = "cancelled"
    try:
        async with aclosing(host.stream(call, first)) as batches:
            async for chunks in batches:
                host.breaker.began()
                yield chunks
        host.breaker.succeeded()
        outcome = "success"
    except InvalidRequest:
        host.breaker.succeeded()
        outcome = "refused"
        raise
    except EngineError as error:
        outcome = "failed" if isinstance(error, EngineUnavailable) else "broken"
        log.warning("upstream %s: %s", host.url, error)
        host.breaker.failed(str(error))
        raise
    except Setback as setback:
        outcome = "failed" if setback.fault else "busy"
        if setback.down:
            host.breaker.open(str(setback))
        elif setback.fault:
            host.breaker.failed(str(setback))
        log.log(logging.WARNING if host.breaker.state == "open" else logging.INFO, "upstream %s: %s", host.url, setback)
        if setback.wait is not None:
            host.busy_until = time.monotonic() + min(setback.wait, options.backoff_limit_seconds)
        raise
    finally:
        host.outcomes[outcome] += 1
        pool.release(host)


async def _shorter(refusal: InvalidRequest, call: Call, host: Host) -> Call | None:
    """The call with as many tokens as the host has room for; None where that was not what it complained about."""
    allowed = room(str(refusal))
    if allowed is None and isinstance(refusal, ContextOverflow) and (context := (host.models or {}).get(call.model)):
        try:
            allowed = context - len(await tokenize([host], call.model, call.prompt))
        except (Setback, InvalidRequest):
            return None
    if allowed is None or not 0 < allowed < call.sampling.max_tokens:
        return None
    return dataclasses.replace(call, sampling=dataclasses.replace(call.sampling, max_tokens=allowed))
