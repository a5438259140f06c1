"""Server-sent events. Rule: nothing is promised before there is something to say.

The status is sent with the first event, so whatever fails before it is an ordinary HTTP error. After it an error is an
event too, and the stream ends without `[DONE]`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress

import orjson
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from decoders.core.errors import LongThinkError
from server.api import errors
from server.connections import ClientLeft, Connections

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"

Failure = Callable[[Exception], bytes]

log = logging.getLogger("longthink")


def failure_event(error: Exception) -> bytes:
    """An error in the middle of a stream, as OpenAI's chat API has it."""
    return b"data: " + orjson.dumps(errors.describe(error)[1]) + b"\n\n"


class EventStream(StreamingResponse):
    """Sends ready-made events while the client is there, and a comment whenever none has come for `keep_alive` seconds.

    A comment that is due before the first event starts the response as well: better than a proxy that gives up.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        connections: Connections,
        keep_alive: float,
        failure: Failure = failure_event,
    ) -> None:
        super().__init__(events, headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        self._events = events
        self._connections = connections
        self._keep_alive = keep_alive
        self._failure = failure
        self._started = False
        self._comment: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The response, as ASGI runs it."""
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._timer = self._loop.call_later(self._keep_alive, self._tick)
        try:
            async with self._connections.enter(receive), aclosing(self._events) as events:
                async for data in events:
                    await self._write(data)
        except ClientLeft:
            return
        except Exception as error:
            if not self._started:
                raise
            if not isinstance(error, LongThinkError):
                log.exception("a stream failed")
            await self._write(self._failure(error))
        else:
            if not self._started:
                await self._write(b"")
        finally:
            await self._silence()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, data: bytes) -> None:
        self._last = self._loop.time()
        if not self._started:
            self._started = True
            await self._send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    def _tick(self) -> None:
        """Looks at the clock once an interval, so that a busy stream pays nothing for it."""
        silent = self._loop.time() - self._last
        if silent >= self._keep_alive and (self._comment is None or self._comment.done()):
            self._comment = self._loop.create_task(self._write(KEEP_ALIVE))
            silent = 0.0
        self._timer = self._loop.call_later(max(self._keep_alive - silent, 0.001), self._tick)

    async def _silence(self) -> None:
        self._timer.cancel()
        if self._comment is not None:
            self._comment.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await self._comment
