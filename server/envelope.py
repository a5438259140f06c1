"""What every request passes on its way in and out. Rule: pure ASGI, because wrapped requests hide a disconnect.

In: a limit on the body, enforced while it is read, and the trace that the request belongs to. Out: a request id, a
proper error for whatever nobody caught, and a line in the log.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api import errors
from server.context import Origin, on_behalf_of, pass_on, trace_headers
from server.telemetry import Tracing

_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_PATIENCE = 64 * 1024 * 1024
"""Bytes of a refused body that are read all the same, so that the client gets to see the refusal."""

_PROBES = frozenset({"/health", "/ready", "/metrics"})

log = logging.getLogger("longthink")
ACCESS = logging.getLogger("longthink.access")


class Envelope:
    """The outermost layer of the app that is ours."""

    def __init__(
        self, app: ASGIApp, *, max_body_bytes: int, log_requests: bool = True, tracing: Tracing | None = None
    ) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._level = logging.INFO if log_requests else logging.DEBUG
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI runs it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        whom = Origin(request=given if _ID.fullmatch(given) else uuid.uuid4().hex)
        with on_behalf_of(whom):
            if trace := trace_headers(headers):
                pass_on(trace)
            if self._tracing is None:
                await self._answer(scope, receive, send, whom, None)
            else:
                with self._tracing.request(scope, trace, whom) as answered:
                    await self._answer(scope, receive, send, whom, answered)

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, whom: Origin, answered: Callable[[int], None] | None
    ) -> None:
        began, status, size = time.monotonic(), 0, 0
        header = (b"x-request-id", whom.request.encode())

        async def stamped(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            elif message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), header]
                if answered is not None:
                    answered(status)
            await send(message)

        try:
            await self._app(scope, _limited(scope, receive, self._max_body_bytes), stamped)
        except Exception as error:
            log.exception("a request failed")
            if not status:
                await errors.respond(error, scope["path"])(scope, receive, stamped)
        finally:
            level = logging.DEBUG if scope["path"] in _PROBES else self._level
            if ACCESS.isEnabledFor(level):
                _log(level, scope, status, time.monotonic() - began, size, whom.tokens)


def _log(level: int, scope: Scope, status: int, seconds: float, size: int, tokens: int) -> None:
    method, path, seconds = scope["method"], scope["path"], round(seconds, 6)
    fields = {"method": method, "path": path, "status": status, "seconds": seconds, "bytes": size, "tokens": tokens}
    ACCESS.log(level, "%(method)s %(path)s %(status)d", fields)


def _limited(scope: Scope, receive: Receive, limit: int) -> Receive:
    """`receive`, which raises 413 as soon as the body is known to be larger than `limit` bytes."""
    headers = Headers(scope=scope)
    announced = headers.get("content-length", "0")
    size, too_large = 0, announced.isdecimal() and int(announced[:19]) > limit

    async def limited() -> Message:
        nonlocal size
        if not too_large:
            message = await receive()
            size += len(message.get("body", b""))
            if size <= limit:
                return message
            more = message.get("more_body", False)
        else:
            # a client that waits for leave to send its body gets the answer instead
            more = headers.get("expect", "").lower() != "100-continue"
        await _discard(receive, more)
        message_text = f"the body is larger than this server's limit of {limit} bytes"
        raise errors.ApiError(413, message_text, code="request_too_large")

    return limited


async def _discard(receive: Receive, more: bool) -> None:
    read = 0
    while more and read < _PATIENCE:
        message = await receive()
        read += len(message.get("body", b""))
        more = message.get("more_body", False)
