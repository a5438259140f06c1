"""One question at work: its events as they come, its answer, its trace. Rule: a run can be read as often as you like.

A run that was asked for with `solve` is stopped when it is closed early; one that was started in the background is not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, Protocol, Self

from openai import APIError, AsyncStream, OpenAIError, Stream
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from clients.events import Event
from clients.progress import Progress
from clients.tape import Status, Tape
from clients.trace import Trace


class Kept(Protocol):
    """What can be done with a run that the server keeps."""

    def retrieve(self, completion_id: str, /) -> ChatCompletion:
        """As it is now."""
        ...

    def cancel(self, completion_id: str, /) -> ChatCompletion:
        """End it."""
        ...


class AsyncKept(Protocol):
    """What can be done with a run that the server keeps."""

    async def retrieve(self, completion_id: str, /) -> ChatCompletion:
        """As it is now."""
        ...

    async def cancel(self, completion_id: str, /) -> ChatCompletion:
        """End it."""
        ...


class _Told:
    """What both kinds of run know by themselves."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    @property
    def id(self) -> str:
        """The id at the server."""
        return self._tape.id

    @property
    def status(self) -> Status:
        """How far it has been read."""
        return self._tape.status

    @property
    def progress(self) -> Progress:
        """Steps, votes, verdicts and purse so far."""
        return self._tape.progress

    @property
    def finish(self) -> str | None:
        """Why it ended: `stop`, or `length` where a limit ended it; None before."""
        return self._tape.finish


class Run(_Told):
    """A run of a `LongThink` client; iterate for its events, ask `text`, `usage` and `trace` to wait for its end."""

    def __init__(self, tape: Tape, opened: Callable[[], Stream[ChatCompletionChunk]], kept: Kept) -> None:
        super().__init__(tape)
        self._opened, self._kept = opened, kept
        self._stream: Stream[ChatCompletionChunk] | None = None

    def open(self) -> Self:
        """Connect now, which the first reading would do otherwise."""
        if self._stream is None:
            try:
                self._stream = self._opened()
            except BaseException:  # a reader that gives up before there is a stream has left, too
                self._leave()
                raise
        return self

    def _leave(self) -> None:
        if self._tape.owned and not self._tape.over:
            self._tape.end()
            if self._tape.kept:
                with suppress(OpenAIError):
                    self._kept.cancel(self.id)

    def __iter__(self) -> Iterator[Event]:
        """All events from the first one on, as they come. Raises what ended the run."""
        place = 0
        while True:
            while place < len(self._tape.events):
                yield self._tape.events[place][1]
                place += 1
            if self._tape.over or not self._read():
                return

    def _read(self) -> bool:
        stream = self.open()._stream
        assert stream is not None
        try:
            chunk = next(stream, None)
        except APIError as error:
            self._tape.end(error)
            raise
        if chunk is not None:
            self._tape.record(chunk)
            return True
        self._tape.end()
        if self._tape.unsettled:
            self._tape.settle(self._kept.retrieve(self.id))
        return False

    def wait(self) -> Self:
        """Read to the end. Raises what ended the run."""
        while not self._tape.over and self._read():
            pass
        return self

    @property
    def text(self) -> str:
        """The answer, waited for."""
        return self.wait()._tape.text

    @property
    def usage(self) -> CompletionUsage:
        """Exact counts, waited for."""
        return self.wait()._tape.usage

    @property
    def trace(self) -> Trace:
        """The record of the whole run, waited for; of a run that was stopped, what there was."""
        return self.wait()._tape.trace()

    def poll(self) -> Status:
        """What the server says of a run that it keeps."""
        return status_of(self._kept.retrieve(self.id))

    def cancel(self) -> None:
        """Stop it, wherever it runs."""
        if not self._tape.kept:
            self.close()
        elif not self._tape.over:
            self._kept.cancel(self.id)

    def close(self) -> None:
        """Stop reading; see the module."""
        if self._stream is None:
            self._leave()
        else:
            self._stream.close()
            if self._tape.owned and not self._tape.over:
                self._tape.end()

    def __enter__(self) -> Self:
        """For `with`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


class AsyncRun(_Told):
    """A run of an `AsyncLongThink` client; `text`, `usage` and `trace` are there after `await run.wait()`."""

    def __init__(
        self, tape: Tape, opened: Callable[[], Coroutine[Any, Any, AsyncStream[ChatCompletionChunk]]], kept: AsyncKept
    ) -> None:
        super().__init__(tape)
        self._opened, self._kept = opened, kept
        self._stream: AsyncStream[ChatCompletionChunk] | None = None

    async def open(self) -> Self:
        """Connect now, which the first reading would do otherwise."""
        if self._stream is None:
            try:
                self._stream = await self._opened()
            except BaseException:  # a reader that gives up before there is a stream has left, too
                await self._leave()
                raise
        return self

    async def _leave(self) -> None:
        if self._tape.owned and not self._tape.over:
            self._tape.end()
            if self._tape.kept:
                with suppress(OpenAIError):
                    await self._kept.cancel(self.id)

    async def __aiter__(self) -> AsyncIterator[Event]:
        """All events from the first one on, as they come. Raises what ended the run."""
        place = 0
        while True:
            while place < len(self._tape.events):
                yield self._tape.events[place][1]
                place += 1
            if self._tape.over or not await self._read():
                return

    async def _read(self) -> bool:
        stream = (await self.open())._stream
        assert stream is not None
        try:
            chunk = await anext(stream, None)
        except APIError as error:
            self._tape.end(error)
            raise
        if chunk is not None:
            self._tape.record(chunk)
            return True
        self._tape.end()
        if self._tape.unsettled:
            self._tape.settle(await self._kept.retrieve(self.id))
        return False

    async def wait(self) -> Self:
        """Read to the end. Raises what ended the run."""
        while not self._tape.over and await self._read():
            pass
        return self

    @property
    def text(self) -> str:
        """The answer. Raises `Unfinished` before the end."""
        return self._tape.text

    @property
    def usage(self) -> CompletionUsage:
        """Exact counts. Raises `Unfinished` before the end."""
        return self._tape.usage

    @property
    def trace(self) -> Trace:
        """The record so far."""
        return self._tape.trace()

    async def poll(self) -> Status:
        """What the server says of a run that it keeps."""
        return status_of(await self._kept.retrieve(self.id))

    async def cancel(self) -> None:
        """Stop it, wherever it runs."""
        if not self._tape.kept:
            await self.close()
        elif not self._tape.over:
            await self._kept.cancel(self.id)

    async def close(self) -> None:
        """Stop reading; see the module."""
        if self._stream is None:
            await self._leave()
        else:
            await self._stream.close()
            if self._tape.owned and not self._tape.over:
                self._tape.end()

    async def __aenter__(self) -> Self:
        """For `async with`."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()


def status_of(found: ChatCompletion) -> Status:
    """The status in a completion that the server keeps."""
    mark: dict[str, Status] = (found.model_extra or {}).get("longthink") or {}
    return mark.get("status", "completed")
