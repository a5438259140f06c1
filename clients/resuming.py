"""Streams that outlive their connection: a broken one goes on behind the last event that was read.

Rule: no event is lost or repeated, and whoever closes a stream before its end stops the run, as with any other stream.
What does not depend on sync or async is `Place`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar, cast

from openai import APIConnectionError, AsyncStream, Omit, OpenAIError, Stream, omit
from openai._streaming import ServerSentEvent

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

ATTEMPTS = 6
"""Connections in a row that may break without an event, before it is the caller's problem."""
_PAUSES = (0.05, 5.0)
_LAST = frozenset({"response.completed", "response.incomplete", "response.failed"})


class Place:
    """Where a stream stands: whose it is, which event came last, whether that was the end."""

    def __init__(self, id: str = "", last: int | None = None) -> None:
        self.id = id
        self.last = last
        self.done = False
        self._failures = 0

    @property
    def after(self) -> int | Omit:
        """The number of the last event, as openai's methods take it."""
        return omit if self.last is None else self.last

    def read(self, event: ServerSentEvent) -> None:
        """Note an event."""
        self._failures = 0
        if event.data.startswith("[DONE]"):
            self.done = True
            return
        if event.id is not None and event.id.isdecimal():
            self.last = int(event.id)
        data: dict[str, Any] = event.json()
        self.id = self.id or data.get("id") or (data.get("response") or {}).get("id") or ""
        self.done = "error" in data or data.get("type") in _LAST

    def pause(self, error: Exception | None) -> float:
        """Seconds to wait before coming again. Raises the error when that has failed too often."""
        self._failures += 1
        if self._failures >= ATTEMPTS:
            raise error or OpenAIError("the stream ended before the run, again and again")
        return 0.0 if self._failures == 1 else min(_PAUSES[0] * 2.0**self._failures, _PAUSES[1])


class Reopen(Protocol[T_co]):
    """How a stream is opened again: behind the last event, or from the start where there was none."""

    def __call__(self, place: Place, /) -> T_co:
        """The rest of the stream."""
        ...


class ResumableStream(Stream[T], Generic[T]):
    """A `Stream` over as many connections as it takes; `abandon` is called where it is closed too early."""

    def __init__(
        self, first: Stream[T], reopen: Reopen[Stream[T]], abandon: Callable[[str], object] | None, place: Place
    ) -> None:
        self._reopen, self._abandon, self.place = reopen, abandon, place
        # the base reads casting and client from a stream that openai has made, so that chunks are what they always are
        super().__init__(cast_to=first._cast_to, response=first.response, client=first._client, options=first._options)
        self._current = first

    def _iter_events(self) -> Iterator[ServerSentEvent]:
        try:
            while not self.place.done:
                failure: Exception | None = None
                try:
                    for event in self._current._iter_events():
                        self.place.read(event)
                        yield event
                except APIConnectionError as error:
                    failure = error
                self._current.close()
                if not self.place.done:
                    self._again(failure)
        finally:
            self._leave()

    def _again(self, failure: Exception | None) -> None:
        while True:
            time.sleep(self.place.pause(failure))
            try:
                self._current = self._reopen(self.place)
                return
            except APIConnectionError as error:
                failure = error

    def close(self) -> None:
        """Close the connection; the run is cancelled if it is not over, unless others may be reading it."""
        cast(Any, self._iterator).close()
        self._leave()

    def _leave(self) -> None:
        self._current.close()
        if self._abandon is not None and not self.place.done and self.place.id:
            self.place.done = True
            with suppress(OpenAIError):
                self._abandon(self.place.id)


class AsyncResumableStream(AsyncStream[T], Generic[T]):
    """An `AsyncStream` over as many connections as it takes; `abandon` is called where it is closed too early."""

    def __init__(
        self,
        first: AsyncStream[T],
        reopen: Reopen[Awaitable[AsyncStream[T]]],
        abandon: Callable[[str], Awaitable[object]] | None,
        place: Place,
    ) -> None:
        self._reopen, self._abandon, self.place = reopen, abandon, place
        super().__init__(cast_to=first._cast_to, response=first.response, client=first._client, options=first._options)
        self._current = first

    async def _iter_events(self) -> AsyncIterator[ServerSentEvent]:
        try:
            while not self.place.done:
                failure: Exception | None = None
                try:
                    async for event in self._current._iter_events():
                        self.place.read(event)
                        yield event
                except APIConnectionError as error:
                    failure = error
                await self._current.close()
                if not self.place.done:
                    await self._again(failure)
        finally:
            await self._leave()

    async def _again(self, failure: Exception | None) -> None:
        while True:
            await asyncio.sleep(self.place.pause(failure))
            try:
                self._current = await self._reopen(self.place)
                return
            except APIConnectionError as error:
                failure = error

    async def close(self) -> None:
        """Close the connection; the run is cancelled if it is not over, unless others may be reading it."""
        await cast(Any, self._iterator).aclose()
        await self._leave()

    async def _leave(self) -> None:
        await self._current.close()
        if self._abandon is not None and not self.place.done and self.place.id:
            self.place.done = True
            with suppress(OpenAIError):
                await self._abandon(self.place.id)
