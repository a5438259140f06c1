"""HTTP/1.1 on the socket. Rule: no client holds a connection, a buffer or an engine for longer than it keeps moving.

uvicorn bounds neither the time nor the size of what comes before a request's body, nor the patience with a reader who
does not read. This protocol adds these bounds; what it refuses is told in the same form as every other error.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, cast

import httptools
import orjson
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from server.api import errors
from server.settings import Settings

_MOST_HEADERS = 200
_LONGEST_URL = 16 * 1024
_FRAMING = 16
"""Bytes of chunk framing that each byte of a body may cost: bodies of one-byte chunks need five."""
_UNSENT = 64 * 1024
"""Bytes of a reply that may wait in the kernel; without a bound it takes megabytes before a stalled reader shows."""
_PARTING_SECONDS = 2
"""How long a refused client may go on sending: closed at once, it would see a reset instead of the refusal."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The limits of one listener, and its connections that have no request in progress, oldest first."""

    header_seconds: float
    body_seconds: float
    stall_seconds: float
    max_header_bytes: int
    max_connections: int
    waiting: dict[GuardedProtocol, None] = field(default_factory=dict)


def config(app: ASGIApp, settings: Settings, **more: Any) -> uvicorn.Config:
    """Uvicorn's configuration with this protocol and without anything that tells or trusts too much."""
    gate = Gate(
        settings.header_seconds,
        settings.body_seconds,
        settings.stall_seconds,
        settings.max_header_bytes,
        settings.max_connections,
    )
    http = cast("type[asyncio.Protocol]", partial(GuardedProtocol, gate=gate))
    return uvicorn.Config(app, http=http, ws="none", access_log=False, server_header=False, proxy_headers=False, **more)


class GuardedProtocol(HttpToolsProtocol):
    """One connection: a deadline for each request's head and body, one for a stalled reader, and limits on sizes."""

    def __init__(self, *args: Any, gate: Gate, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._gate = gate
        self._deadline: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._overhead = 0
        self._in_head = True
        self._refused = False
        self._refusal = (400, "the request is not valid HTTP/1.1", "invalid_http")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes the connection, in place of the longest idle one where there is no room."""
        super().connection_made(transport)
        _bound_kernel(transport, self._gate.stall_seconds)
        waiting = self._gate.waiting
        if len(self.connections) > self._gate.max_connections:
            if not waiting:
                self._refuse(503, "the server is at its limit of connections", "overloaded")
                return
            next(iter(waiting)).transport.abort()
        waiting[self] = None
        self._expire(self._gate.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self._gate.waiting.pop(self, None)
        for timer in (self._deadline, self._stall):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feeds the parser, which keeps an unfinished header in memory however long it is."""
        if self._refused:
            return
        self._overhead += len(data)
        if self._in_head and self._deadline is None and not self._busy:
            self._expire(self._gate.header_seconds)  # another request begins on a connection that was kept
        super().data_received(data)
        if self._overhead > self._gate.max_header_bytes:
            self._refuse(431, *self._too_large())

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        super().on_url(url)
        if len(self.url) > _LONGEST_URL:
            self._fail(414, f"the URL is longer than {_LONGEST_URL} bytes", "url_too_long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; those that follow a body are not made part of the request that is already under way."""
        if self._in_head:
            super().on_header(name, value)
            if len(self.headers) > _MOST_HEADERS:
                self._fail(431, *self._too_large())

    def on_headers_complete(self) -> None:
        """The head is there: the request can be answered, its body has to follow."""
        if sum(len(name) + len(value) + 4 for name, value in self.headers) > self._gate.max_header_bytes:
            self._fail(431, *self._too_large())
        super().on_headers_complete()
        self._in_head, self._overhead = False, 0
        self._gate.waiting.pop(self, None)
        self._expire(self._gate.body_seconds)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._overhead = max(0, self._overhead - (1 + _FRAMING) * len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there; from here on only the reply can take long."""
        self._in_head, self._overhead = True, 0
        self._expire(None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The reply is on its way: what of it nobody reads is not kept for ever."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._linger()
        elif not self._busy:
            self._gate.waiting[self] = None

    def timeout_keep_alive_handler(self) -> None:
        """The connection has been idle for long enough."""
        super().timeout_keep_alive_handler()
        self._linger()

    def pause_writing(self) -> None:
        """The client reads more slowly than the reply is made; from now on the reply waits for it."""
        super().pause_writing()
        self._linger()

    def resume_writing(self) -> None:
        """The client has read something."""
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Says what is wrong with a request that the parser gave up on."""
        self._refuse(*self._refusal)

    @property
    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _too_large(self) -> tuple[str, str]:
        limits = f"{self._gate.max_header_bytes} bytes and {_MOST_HEADERS} headers"
        return f"the request's headers are larger than this server's limit of {limits}", "headers_too_large"

    def _fail(self, status: int, message: str, code: str) -> None:
        """Stop the parser, which then calls `send_400_response`."""
        self._refusal = (status, message, code)
        raise httptools.HttpParserError(message)

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Answer without the app, where no reply has begun, and close."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        begun = self._busy if self._in_head else self.cycle.response_started
        if begun:
            self.transport.close()
            self._linger()
            return
        kind = "server_error" if status >= 500 else "invalid_request_error"
        content = orjson.dumps(errors.body(message, kind, None, code))
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
        head += f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + content)
        self.transport.write_eof()
        if self._busy:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._expire(None)
        self._deadline = self.loop.call_later(_PARTING_SECONDS, self.transport.abort)

    def _expire(self, seconds: float | None) -> None:
        """The client has this long for what it is sending."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._expired)

    def _expired(self) -> None:
        began = self.headers is not None or self._overhead
        if self._in_head and not began:
            self.transport.close()
            return
        what = "head" if self._in_head else "body"
        self._refuse(408, f"the request's {what} took too long to arrive", "request_timeout")

    def _linger(self) -> None:
        """Give the client a while to read what waits for it."""
        if self._stall is None:
            self._stall = self.loop.call_later(self._gate.stall_seconds, self.transport.abort)


def _bound_kernel(transport: asyncio.Transport, seconds: float) -> None:
    """Let the kernel keep little that is unsent, and give up on a peer that acknowledges nothing, where it can."""
    connection = transport.get_extra_info("socket")
    for option, value in (("TCP_NOTSENT_LOWAT", _UNSENT), ("TCP_USER_TIMEOUT", int(1000 * seconds))):
        if connection is not None and hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
