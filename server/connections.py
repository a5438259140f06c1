"""The requests in progress. Rule: work for a client ends when the client leaves, and when the server's time is up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal

from decoders.core.errors import LongThinkError

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class ClientLeft(LongThinkError):
    """Nobody is there to read the answer."""


Rejection = Literal["full", "draining", "queue_full", "queue_timeout", "rate_limit", "unauthorized"]
"""Why a request was turned away before anything was generated for it."""


class Refused(LongThinkError):
    """The server takes no further request now; `reason` where a request was turned away by that."""

    def __init__(self, message: str, reason: Rejection | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class HandOver(LongThinkError):
    """This replica is about to stop, and another one goes on with what it did."""


class Connections:
    """Counts what is in progress, refuses what is too much, and ends it all at shutdown."""

    def __init__(self, limit: int) -> None:
        self.draining = False
        self._limit = limit
        self._on_drain: list[Callable[[], None]] = []
        self._open: set[Connected] = set()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def room(self) -> int:
        """How many more may be in progress."""
        return max(self._limit - len(self._open), 0)

    def enter(self, receive: Receive | None) -> Connected:
        """A guard for one request's work; without `receive` there is no client that could leave.

        Raises `Refused` when the server is full or about to stop.
        """
        if self.draining:
            raise Refused("the server is shutting down", "draining")
        if len(self._open) >= self._limit:
            raise Refused(f"the server is at its limit of {self._limit} requests in progress", "full")
        return Connected(receive, self._open)

    def on_drain(self, action: Callable[[], None]) -> None:
        """Have something done when the server is about to stop."""
        self._on_drain.append(action)

    def drain(self) -> None:
        """What has not begun is refused from now on, what has may go on."""
        self.draining = True
        while self._on_drain:
            self._on_drain.pop()()

    def stop(self) -> None:
        """End whatever is still in progress."""
        for connected in list(self._open):
            connected.end(Refused("the server is shutting down"))


class Connected:
    """Cancels the body of its `async with` as soon as the client leaves, which is then raised as `ClientLeft`.

    The watcher only sees the connection close once the request's body has been read.
    """

    def __init__(self, receive: Receive | None, peers: set[Connected]) -> None:
        self._receive = receive
        self._peers = peers
        self._reason: LongThinkError | None = None
        self._inside = False

    async def __aenter__(self) -> Connected:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._inside = True
        self._peers.add(self)
        self._watcher = None if self._receive is None else asyncio.create_task(self._watch(self._receive))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inside = False
        self._peers.discard(self)
        if self._watcher is not None:
            self._watcher.cancel()
        if self._reason is None:
            return
        if kind is None:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)  # the cancellation is on its way and must not hit what comes after
        if self._task.uncancel() == 0 and kind in (None, asyncio.CancelledError):
            raise self._reason from None

    def end(self, reason: LongThinkError) -> None:
        """Cancel the body; `reason` is raised in its place."""
        if self._inside and self._reason is None:
            self._reason = reason
            self._task.cancel()

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end(ClientLeft("the client closed the connection"))
