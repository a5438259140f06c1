"""One server: its address and key, what it can do, how it fares, and calls to it.

Rule: every failure of a call leaves here as a `Setback` before the first token and as a typed error after it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Literal, cast, get_args
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx
import orjson
from httpx_aiohttp import AiohttpTransport

from decoders.core.engine import Chunk
from decoders.core.errors import EngineError, EngineUnavailable, InvalidRequest
from server.context import passed_on
from server.engines.upstream.affinity import Prefixes
from server.engines.upstream.body import Call, render
from server.engines.upstream.breaker import Breaker
from server.engines.upstream.dialects import DIALECTS, Dialect
from server.engines.upstream.events import EventReader, decode
from server.engines.upstream.failures import Setback, status_error
from server.engines.upstream.reply import Reply
from server.model_options import UpstreamHost, UpstreamOptions

Outcome = Literal["success", "refused", "busy", "failed", "broken", "cancelled"]
"""How a call ended: `refused` as the caller's mistake, `failed` before its first token, `broken` after it."""

_LARGEST = 16 * 1024 * 1024
"""Bytes of a response that is read whole."""
_LAST_WORDS = 0.25
"""Seconds that a response may take to end after `[DONE]`: its connection can only then be used again."""
_BROKEN = (EngineError, httpx.TransportError, aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError)


class Host:
    """One upstream. `models` are those it lists with the context length of each; None before it has answered."""

    def __init__(self, host: UpstreamHost, options: UpstreamOptions) -> None:
        url = httpx.URL(host.url)
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError(f"upstream: {host.url!r} is not an http(s) URL")
        if url.userinfo:
            raise ValueError("upstream: a URL with a user or password is not accepted: use api_key_env")
        self.url = str(url).rstrip("/")
        self.root = self.url.removesuffix("/v1")
        self.dialect: Dialect | None = None if host.dialect == "auto" else DIALECTS[host.dialect]
        self.models: Mapping[str, int | None] | None = None
        self.health: str | None = self.known.health
        """Where below `root` it tells whether it is well; None where it does not."""
        self.breaker = Breaker(options.break_after, options.health_seconds)
        self.prefixes = Prefixes()
        self.in_flight = 0
        self.outcomes: dict[Outcome, int] = dict.fromkeys(get_args(Outcome), 0)
        """How many calls have ended how."""
        self.retries = 0
        """How many of its calls were tried again, here or elsewhere."""
        self.drained = False
        """Taken out by the operator."""
        self.unwell = False
        """Says of itself that it takes no calls now."""
        self.busy_until = 0.0
        """When to call again, by its Retry-After (`time.monotonic()`)."""
        self._settings, self._options = host, options
        self._headers = httpx.Headers(_headers(host))
        self._urls: dict[str, httpx.URL] = {}
        self._transport = _transport(url)

    @property
    def limit(self) -> int:
        """Calls that may be in progress: one while it is on trial."""
        return 1 if self.breaker.state == "half-open" else self._settings.max_in_flight

    @property
    def known(self) -> Dialect:
        """Its dialect, that of OpenAI before it has told."""
        return self.dialect or DIALECTS["openai"]

    @property
    def well(self) -> bool:
        """Whether it answers calls, as far as is known."""
        return not (self.drained or self.unwell or self.breaker.state == "open" or self.models is None)

    @property
    def available(self) -> bool:
        """Whether it may get calls, now or once one of those in progress ends."""
        return self.well and time.monotonic() >= self.busy_until

    @property
    def state(self) -> str:
        """For messages."""
        if self.drained or self.unwell:
            return "draining"
        return f"{self.breaker.state} ({self.breaker.reason})" if self.breaker.reason else self.breaker.state

    async def stream(self, call: Call, first: int) -> AsyncGenerator[list[Chunk], None]:
        """The chunks of one call as they arrive, its completions numbered from `first`.

        Raises `InvalidRequest` for what the host refuses, `Setback` before and `EngineError` after the first token.
        """
        dialect = self.known
        context = (self.models or {}).get(call.model) or self._options.context_length or 1 << 60
        path, body = render(call, dialect, context, priority=self._settings.priority and dialect.priority)
        reply = Reply(n=call.n, first=first, thinking=call.thinking, counted=dialect.several)
        try:
            async with self._open("POST", self.url + path, body) as response:
                if response.status_code != 200:
                    raise status_error(response.status_code, await _whole(response), response.headers)
                async with aclosing(self._chunks(response, reply)) as batches:
                    async for chunks in batches:
                        if chunks:
                            yield chunks
        except (InvalidRequest, Setback):
            raise
        except EngineUnavailable as error:
            raise EngineUnavailable(f"{call.model}: {error}") from error
        except _BROKEN as error:
            reason = _reason(error)
            if reply.begun:
                raise EngineError(f"{call.model}: after its first token: {reason}") from error
            raise Setback(reason, down=_is_down(error)) from error

    async def fetch(self, method: str, url: str, content: object = None) -> tuple[int, Any]:
        """A small exchange: status and decoded body (None where it is not JSON). Raises `Setback`."""
        body = b"" if content is None else orjson.dumps(content)
        try:
            async with asyncio.timeout(self._options.connect_seconds), self._open(method, url, body) as response:
                data = await _whole(response)
        except _BROKEN as error:
            raise Setback(_reason(error), down=_is_down(error)) from error
        try:
            return response.status_code, decode(data)
        except EngineError:
            return response.status_code, None

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    @asynccontextmanager
    async def _open(self, method: str, url: str, body: bytes) -> AsyncGenerator[httpx.Response, None]:
        """A response whose body has not been read; leaving closes it, and the connection if it is not at its end."""
        if (parsed := self._urls.get(url)) is None:
            parsed = self._urls[url] = httpx.URL(url)
        timeout = {"timeout": {"connect": self._options.connect_seconds}}
        headers = self._headers
        if trace := passed_on():
            headers = headers.copy()
            headers.update(trace)
        request = httpx.Request(method, parsed, headers=headers, content=body, extensions=timeout)
        request.headers.encoding = "ascii"  # httpx would find it out anew for every header that is read
        async with asyncio.timeout(self._options.first_token_seconds):
            response = await self._transport.handle_async_request(request)
        try:
            yield response
        finally:
            await response.aclose()

    async def _chunks(self, response: httpx.Response, reply: Reply) -> AsyncGenerator[list[Chunk], None]:
        if "json" in response.headers.get("content-type", ""):
            async with asyncio.timeout(self._options.first_token_seconds):
                yield reply.take([decode(await _whole(response))]) + reply.end()
            return
        reader = EventReader()
        async with aclosing(_pieces(response)) as pieces:
            while not reader.done:
                limit = self._options.idle_seconds if reply.begun else self._options.first_token_seconds
                async with asyncio.timeout(limit):
                    data = await anext(pieces, b"")
                if not data:
                    break
                chunks = reply.take(reader.feed(data))
                yield chunks + reply.end() if reader.done else chunks
            if not reader.done:
                yield reply.end()
                return
            with suppress(*_BROKEN):
                async with asyncio.timeout(_LAST_WORDS):
                    await anext(pieces, b"")


def _headers(host: UpstreamHost) -> dict[str, str]:
    key = host.api_key.get_secret_value() if host.api_key else ""
    if host.api_key_env:
        key = os.environ.get(host.api_key_env, "")
        if not key:
            raise ValueError(f"upstream {host.url}: the environment has no {host.api_key_env} with its key")
    authorization = {"authorization": f"Bearer {key}"} if key else {}
    # aiohttp would offer compression, which the transport does not undo
    fixed = {"content-type": "application/json", "accept-encoding": "identity", "user-agent": "longthink"}
    return fixed | authorization


def _transport(url: httpx.URL) -> AiohttpTransport:
    """Httpx's pool searches all its connections for every call: 8 ms of CPU each at 160 in flight, this 0.1 ms.

    The limit must be 0: the transport takes None for its own default of 100. `Host.limit` is what limits calls.
    """
    address = None if proxy_bypass(url.host) else getproxies().get(url.scheme)
    limits = httpx.Limits(max_connections=0, keepalive_expiry=30.0)
    return AiohttpTransport(limits=limits, proxy=httpx.Proxy(address) if address else None)


def _pieces(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """A body as it arrives; `Response.aiter_raw` does the same with more bookkeeping."""
    return cast("AsyncGenerator[bytes, None]", aiter(cast("httpx.AsyncByteStream", response.stream)))


async def _whole(response: httpx.Response) -> bytes:
    data = b""
    async with aclosing(_pieces(response)) as pieces:
        async for piece in pieces:
            data += piece
            if len(data) > _LARGEST:
                raise EngineError("the upstream's response is too large")
    return data


def _is_down(error: BaseException) -> bool:
    """Whether nobody listens. The transport calls this a timeout, as it does every loss of a connection."""
    return isinstance(error.__cause__, aiohttp.ClientConnectorError)


def _reason(error: BaseException) -> str:
    """What happened, without the address: clients read this, the log says which host it was."""
    if _is_down(error):
        return "cannot connect"
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
