"""One durable run while this replica holds it: taken up where it stands, generated for its log, ended or handed over.

Rule: the log and the steps are written under the lease, so a worker that has lost it can go on for a moment and do no
harm. While the store is out of reach it generates at most until the next step is finished.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import ClassVar, ParamSpec, Protocol, TypeVar

from decoders.core.errors import LongThinkError
from decoders.core.trace import Record, read_record
from server.api import errors
from server.connections import Connected, HandOver, Refused
from server.generation import Generation
from server.narrator import Piece
from server.report import Cancelled, Entry, LastingWriter, Report, told
from server.service import Ask, Journal
from server.store.base import Lease, LeaseLost, Runs, Stored, StoreUnavailable

P = ParamSpec("P")
T = TypeVar("T")

_PAUSES = (0.05, 2.0)
"""Seconds between attempts to reach the store: the first, and the longest."""

log = logging.getLogger("longthink")


@dataclass(frozen=True, slots=True)
class Work:
    """A stored run as its API understands it: what is asked, and how the response to it is written."""

    ask: Ask
    writer: Callable[[Report], LastingWriter]
    webhook: str = ""
    """The URL that the request wants told of the end."""


Opener = Callable[[Stored], Work]
"""Reads a stored run; one for each API that has runs in the background."""


@dataclass(frozen=True, slots=True)
class History:
    """What a run has behind it: recorded steps by choice, and the lines of its log."""

    steps: Mapping[int, Sequence[Record]] = field(default_factory=dict)
    entries: Sequence[Entry] = ()

    @classmethod
    async def read(cls, store: Runs, id: str) -> History:
        """From the store."""
        steps: dict[int, dict[str, Record]] = {}
        for line in await store.steps(id):
            choice, _, text = line.partition(b" ")
            step = read_record(text)
            steps.setdefault(int(choice), {})[step.key] = step  # one may be there twice, after an outage of the store
        done = {choice: list(found.values()) for choice, found in steps.items()}
        return cls(done, [Entry.load(line) for line in await store.entries(id)])


class Begin(Protocol):
    """Makes the generation that a worker reads."""

    def __call__(
        self, ask: Ask, steps: Mapping[int, Sequence[Record]], journal: Journal, said: Sequence[Sequence[Piece]], /
    ) -> Generation:
        """Over recorded `steps`, beside what was `said`. Raises `InvalidRequest` naming the field."""
        ...


class Worker:
    """Makes one run; `draining` tells whether this replica is about to stop."""

    def __init__(
        self,
        store: Runs,
        connected: Connected,
        begin: Begin,
        work: Work,
        history: History,
        draining: Callable[[], bool],
    ) -> None:
        self.connected = connected
        self.announce: Callable[[str], Awaitable[None]] | None = None
        """Told of the run's id before its end is written."""
        self.left: LongThinkError | None = None
        """Why the run was left to others, where it was."""
        self._store, self._draining, self._history = store, draining, history
        said = told(history.entries, work.ask.n)
        self.generation = begin(work.ask, history.steps, self._record, said)
        self._writer = work.writer(self.generation)
        self._unfinished = set(range(self.generation.choices))
        self._last = Entry()
        self._log = _Log(self._append, len(history.entries))

    def body(self) -> bytes:
        """The response as it is now."""
        return self._writer.body()

    async def work(self, lease: Lease) -> None:
        """Generate for the log; however it ends, the log says so, unless somebody else goes on with the run."""
        self._lease = lease
        error: Exception | None = None
        try:
            try:
                async with self.connected:
                    await self._generate()
            except (Refused, HandOver):
                if self._store.durable:
                    raise
                error = Refused("the server was shut down")
            except LeaseLost:
                raise
            except Exception as failure:
                error = failure
            await self._finish(error)
        except (Refused, HandOver, LeaseLost) as reason:
            self.left = reason
            log.info("run %s left to others: %s", lease.id, reason)
            await self._log.aclose()
            with suppress(StoreUnavailable):  # then it lapses
                await self._store.release(lease)
        finally:
            await self._log.aclose()

    async def _generate(self) -> None:
        for index in sorted(self._unfinished):
            self._writer.begin(index)
        for entry in self._history.entries:
            self._write(entry)
        await _insist(self._store.update, self._lease, self._writer.body())
        async with aclosing(self.generation.pieces()) as batches:
            async for batch in batches:
                new = {i: answer for i in self._unfinished if (answer := self.generation.answer(i))}
                entry = Entry(tuple(batch), new)
                if self._unfinished == new.keys():
                    self._last = entry  # it goes out together with what follows it
                elif batch or new:
                    self._write(entry)
                    await self._log.add(entry)

    def _write(self, entry: Entry) -> None:
        for index, piece in entry.pieces:
            self._writer.piece(index, piece)
        for index in entry.answers or ():
            self._unfinished.discard(index)
            self._writer.finish(index, last=not self._unfinished)

    async def _finish(self, error: Exception | None) -> None:
        """The end of the log, and the object as it stays."""
        facts = self.generation.facts()
        if isinstance(error, Cancelled):
            facts.cancelled = True
        elif error is not None:
            if not isinstance(error, LongThinkError):
                log.error("run %s failed", self._lease.id, exc_info=error)
            status, body = errors.describe(error)
            facts.error = {"status": status, **body["error"]}
        self._write(self._last)
        self._writer.end() if error is None else self._writer.failure(error)
        if self.announce is not None:
            await _insist(self.announce, self._lease.id)
        end = dataclasses.replace(Entry.together([*await self._log.rest(), self._last]), facts=facts)
        await _insist(self._store.finish, self._lease, self._writer.body(), [end.dump()])
        # not before: whoever would take over a run that is settled but not done would settle it again
        await self.generation.permit.settle(facts.spent)

    async def _append(self, entry: Entry, at: int) -> None:
        await _insist(self._store.append, self._lease, [entry.dump()], at)

    async def _record(self, choice: int, step: Record) -> None:
        line = b"%d %b" % (choice, step.model_dump_json().encode())
        await _insist(self._store.record, self._lease, [line])
        if self._draining() and self._store.durable:
            raise HandOver("the server is shutting down")


class _Log:
    """Writes a run's log behind its generation: what comes while a write is under way goes out with the next one.

    So a token costs no write of its own, and no token waits for a write until the store has fallen far behind.
    """

    pace: ClassVar[float] = 0.02
    """Seconds from one write to the next."""
    most: ClassVar[int] = 1024
    """Entries that may wait."""

    def __init__(self, write: Callable[[Entry, int], Awaitable[None]], count: int) -> None:
        self._write, self._count = write, count
        self._waiting: list[Entry] = []
        self._writing: asyncio.Task[None] | None = None

    async def add(self, entry: Entry) -> None:
        """Write an entry soon. Raises what an earlier write has raised."""
        self._waiting.append(entry)
        if self._writing is not None and (self._writing.done() or len(self._waiting) > self.most):
            await self._settle()
        if self._writing is None:
            self._writing = asyncio.create_task(self._work())

    async def rest(self) -> list[Entry]:
        """What is not written and will not be; the last write is over."""
        waiting, self._waiting = self._waiting, []
        await self._settle()
        return waiting

    async def aclose(self) -> None:
        """Drop what is not written: whoever goes on will tell it again."""
        self._waiting = []
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    async def _settle(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing

    async def _work(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            await self._write(Entry.together(waiting), self._count)
            self._count += 1
            await asyncio.sleep(self.pace)


async def _insist(operation: Callable[P, Awaitable[T]], *arguments: P.args, **named: P.kwargs) -> T:
    """Try until the store can be reached."""
    pause = _PAUSES[0]
    while True:
        try:
            return await operation(*arguments, **named)
        except StoreUnavailable:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _PAUSES[1])
