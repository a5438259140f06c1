"""Runs, values and counters in one file of SQLite, for the processes of one machine, on a disk of that machine.

Why SQLite and not a file that is only appended to: a write is a lease that is checked, rows of several logs and a
body, all of it or nothing; several processes may share the file; what is forgotten gives its space back. A log file
would need all of that anew, and its own recovery.

Rule: what has returned is on the disk. `synchronous=FULL` makes each commit wait for it; one writing thread commits
whatever waits together, so that many writers share the wait.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path

from server.store import windows
from server.store.base import PURGED_SECONDS, Lease, Limit, Renewal, Stored, StoreUnavailable, Taken
from server.store.signals import Bell, Bells
from server.store.sqlite import tables
from server.store.sqlite.tables import Writing
from server.store.sqlite.watch import Watch
from server.store.sqlite.worker import Worker

BUSY_SECONDS = 5.0
SYNCHRONOUS = "FULL"
BATCH = 500


class SqliteStore:
    """Responses are kept for `seconds` after their end. Raises `OSError` or `sqlite3.Error` for an unusable file."""

    durable = True

    def __init__(
        self, path: Path, *, seconds: float, lease_seconds: float = 15.0, clock: Callable[[], float] = time.time
    ) -> None:
        self.lease_seconds = lease_seconds
        self._seconds, self._clock = seconds, clock
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        writing = _connect(path)
        writing.execute("PRAGMA journal_mode = WAL")
        writing.executescript("BEGIN IMMEDIATE;" + files(__package__).joinpath("schema.sql").read_text() + "COMMIT;")
        (changes,) = writing.execute("SELECT number FROM changes").fetchone()
        self._writer = Worker(writing, "BEGIN IMMEDIATE", lambda found: tables.sweep(found, self._clock()))
        self._reader = Worker(_connect(path), "BEGIN")
        self._bells, self._changed = Bells(), Bell()
        self._watch = Watch(self._reader, self._bells, self._changed, changes)

    async def put(self, response: Stored) -> None:
        """Keep a response that is done."""
        await self._writer.do(partial(tables.put, response=response, expires=self._clock() + self._seconds))
        self._bells.ring(response.id)

    async def create(self, response: Stored, holder: str) -> Lease:
        """Keep a new run."""
        now = self._clock()
        lapses = now + self.lease_seconds
        return await self._writer.do(partial(tables.create, response=response, holder=holder, now=now, lapses=lapses))

    async def get(self, id: str) -> Stored | None:
        """The response of this id."""
        return await self._reader.do(partial(tables.find, id=id, now=self._clock()))

    async def ids(self) -> list[str]:
        """Of everything that is kept."""
        return await self._reader.do(partial(tables.ids, now=self._clock()))

    async def delete(self, id: str) -> bool:
        """Forget a response with its logs and its lease."""
        there = await self._writer.do(partial(tables.delete, id=id, now=self._clock()))
        self._bells.ring(id)
        return there

    async def update(self, lease: Lease, body: bytes) -> None:
        """What has become of a run that goes on."""
        await self._write(Writing(lease, body))

    async def append(self, lease: Lease, entries: Sequence[bytes], at: int | None = None) -> None:
        """Add entries to the log."""
        await self._write(Writing(lease, entries=entries, at=at))

    async def record(self, lease: Lease, steps: Sequence[bytes]) -> None:
        """Add finished steps."""
        await self._write(Writing(lease, steps=steps))

    async def finish(self, lease: Lease, body: bytes, entries: Sequence[bytes]) -> None:
        """The last entries and the last body."""
        await self._write(Writing(lease, body, entries=entries, expires=self._clock() + self._seconds))

    async def steps(self, id: str) -> list[bytes]:
        """All recorded steps of a run."""
        return await self._reader.do(partial(tables.read, log="steps", id=id, now=self._clock()))

    async def entries(self, id: str) -> list[bytes]:
        """The log of a run."""
        return await self._reader.do(partial(tables.read, log="entries", id=id, now=self._clock()))

    async def follow(self, id: str, after: int) -> AsyncGenerator[Sequence[bytes], None]:
        """The entries numbered above `after`, then further ones as they come."""
        position = max(after + 1, 0)
        with self._bells.listen(id) as signal, self._watch.on():
            while True:
                signal.clear()
                goes_on, found = await self._reader.do(partial(self._look, id=id, position=position))
                if found:
                    position += len(found)
                    yield found
                elif goes_on:
                    await signal.wait()
                else:
                    return

    async def renew(self, holder: str, leases: Sequence[Lease]) -> Renewal:
        """Let leases live on."""
        return await self._writer.do(partial(tables.renew, leases=leases, lapses=self._clock() + self.lease_seconds))

    async def claim(self, holder: str, most: int) -> list[Lease]:
        """Take over runs that nobody holds."""
        now = self._clock()
        lapses = now + self.lease_seconds
        return await self._writer.do(partial(tables.claim, holder=holder, most=most, now=now, lapses=lapses))

    async def release(self, lease: Lease) -> None:
        """Give a run to whoever claims it next."""
        await self._writer.do(partial(tables.release, lease=lease, now=self._clock()))
        self._changed.ring()

    async def cancel(self, id: str) -> None:
        """Ask the holder of a run to end it."""
        await self._writer.do(partial(tables.cancel, id=id))
        self._changed.ring()

    async def changed(self, seconds: float) -> None:
        """Wait for a release or a cancellation."""
        with self._watch.on():
            await self._changed.wait(seconds)

    async def value(self, key: str) -> bytes | None:
        """What is kept under a key."""
        return await self._reader.do(partial(tables.value, key=key, now=self._clock()))

    async def keep(
        self, key: str, value: bytes, seconds: float, *, new: bool = False, labels: Sequence[str] = ()
    ) -> bool:
        """Keep a value."""
        now = self._clock()
        free_at, expires = now if new else None, now + seconds
        kept = partial(tables.keep, key=key, data=value, expires=expires, free_at=free_at, labels=labels)
        return await self._writer.do(kept)

    async def forget(self, key: str) -> None:
        """Forget a value."""
        await self._writer.do(partial(tables.forget, key=key))

    async def take(self, wanted: Sequence[tuple[Limit, int]]) -> Taken:
        """Take an amount under each limit, or none."""

        def work(found: sqlite3.Connection) -> Taken:
            now = self._clock()
            with tables.counted(found, [limit for limit, _ in wanted], now) as used:
                return windows.take(wanted, used, now)

        return await self._writer.do(work)

    async def give_back(self, wanted: Sequence[tuple[Limit, int]], time: float) -> None:
        """Return amounts to their windows."""

        def work(found: sqlite3.Connection) -> None:
            now = self._clock()
            with tables.counted(found, [limit for limit, _ in wanted], now) as used:
                windows.give_back(wanted, used, time, now)

        await self._writer.do(work)

    async def purge(self, label: str) -> int:
        """Forget what has a label."""
        count = await self._writer.do(partial(tables.purge, label=label, expires=self._clock() + PURGED_SECONDS))
        for id in self._bells.names:
            self._bells.ring(id)
        return count

    async def ready(self) -> bool:
        """Whether the file can be written."""
        try:
            await self._writer.do(lambda _: None)
        except StoreUnavailable:
            return False
        return True

    async def aclose(self) -> None:
        """Finish what is being written."""
        await self._watch.aclose()
        await self._writer.aclose()
        await self._reader.aclose()

    async def _write(self, writing: Writing) -> None:
        await self._writer.do(partial(tables.write, writing=writing))
        if writing.entries or writing.expires is not None:
            self._bells.ring(writing.lease.id)

    def _look(self, found: sqlite3.Connection, id: str, position: int) -> tuple[bool, list[bytes]]:
        entries = tables.read(found, "entries", id, self._clock(), position, BATCH)
        return tables.goes_on(found, id), entries


def _connect(path: Path) -> sqlite3.Connection:
    # made here, so that a file that cannot be opened is told at once; used by one thread only, a worker's
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")
    return connection
