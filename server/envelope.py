"""What every request passes on its way in and out. Rule: pure ASGI, because wrapped requests hide a disconnect.

In: a limit on the body, enforced while it is read. Out: a request id, and a proper error for whatever nobody caught.
"""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api import errors

_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_PATIENCE = 64 * 1024 * 1024
"""Bytes of a refused body that are read all the same, so that the client gets to see the refusal."""

log = logging.getLogger("longthink")


class Envelope:
    """The outermost layer of the app that is ours."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI runs it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        header = (b"x-request-id", request_id.encode())

        async def stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        try:
            await self._app(scope, _limited(scope, receive, self._max_body_bytes), stamped)
        except Exception as error:
            log.exception("request %s failed", request_id)
            if not status:
                await errors.respond(error, scope["path"])(scope, receive, stamped)
        finally:
            if log.isEnabledFor(logging.DEBUG):
                seconds = time.monotonic() - began
                log.debug("%s %s %d %.3f s %s", scope["method"], scope["path"], status, seconds, request_id)


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
