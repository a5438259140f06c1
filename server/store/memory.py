"""All of it in this process's memory. Rule: what it takes is bounded by number, age and bytes; running ones stay."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from server.store import windows
from server.store.base import Lease, LeaseLost, Limit, Renewal, Stored, Taken
from server.store.labels import Labels
from server.store.signals import Bell, Bells

TIDY_SECONDS = 10.0


@dataclass(slots=True)
class _Run:
    """A response, its logs and its lease. `since` is when it was done, `lapses` when the lease ends."""

    response: Stored
    holder: str = ""
    number: int = 0
    lapses: float = inf
    cancelled: bool = False
    since: float = inf
    size: int = 0
    steps: list[bytes] = field(default_factory=list)
    entries: list[bytes] = field(default_factory=list)


class _Runs(Labels):
    """At most `limit` responses that are done and `max_bytes` bytes, each for `seconds` after its end."""

    def __init__(
        self, limit: int, seconds: float, max_bytes: int, lease_seconds: float, clock: Callable[[], float]
    ) -> None:
        self._limit, self._seconds, self._max_bytes = limit, seconds, max_bytes
        self.lease_seconds, self._clock = lease_seconds, clock
        self._runs: dict[str, _Run] = {}
        self._done: dict[str, _Run] = {}  # those of the runs that may be forgotten, the first first
        self._size = 0
        self._bells, self._changed = Bells(), Bell()

    async def put(self, response: Stored) -> None:
        """Keep a response that is done."""
        self._refuse(response.labels)
        await self.delete(response.id)
        self._keep(_Run(replace(response, done=True), since=self._clock()))

    async def create(self, response: Stored, holder: str) -> Lease:
        """Keep a new run."""
        self._refuse(response.labels)
        if response.id in self._runs:
            raise LeaseLost(f"there is a run {response.id} already")
        response = replace(response, done=False)
        self._keep(_Run(response, holder, number=1, lapses=self._clock() + self.lease_seconds))
        return Lease(response.id, holder, 1)

    async def get(self, id: str) -> Stored | None:
        """The response of this id."""
        run = self._found(id)
        return run.response if run else None

    async def ids(self) -> list[str]:
        """Of everything that is kept."""
        self._forget()
        return list(self._runs)

    async def delete(self, id: str) -> bool:
        """Forget a response with its logs and its lease."""
        there = self._found(id) is not None
        if there:
            self._drop(id)
        return there

    async def update(self, lease: Lease, body: bytes) -> None:
        """What has become of a run that goes on."""
        self._write(self._held(lease), body=body)

    async def append(self, lease: Lease, entries: Sequence[bytes], at: int | None = None) -> None:
        """Add entries to the log."""
        run = self._held(lease)
        self._write(run, entries=entries if at is None else entries[max(len(run.entries) - at, 0) :])

    async def record(self, lease: Lease, steps: Sequence[bytes]) -> None:
        """Add finished steps."""
        self._write(self._held(lease), steps=steps)

    async def finish(self, lease: Lease, body: bytes, entries: Sequence[bytes]) -> None:
        """The last entries and the last body."""
        run = self._held(lease)
        run.holder, run.lapses, run.since = "", inf, self._clock()
        run.response = replace(run.response, done=True)
        self._done[lease.id] = run
        self._write(run, body=body, entries=entries)

    async def steps(self, id: str) -> list[bytes]:
        """All recorded steps of a run."""
        run = self._found(id)
        return list(run.steps) if run else []

    async def entries(self, id: str) -> list[bytes]:
        """The log of a run."""
        run = self._found(id)
        return list(run.entries) if run else []

    async def follow(self, id: str, after: int) -> AsyncGenerator[Sequence[bytes], None]:
        """The entries numbered above `after`, then further ones as they come."""
        run, position = self._found(id), max(after + 1, 0)
        with self._bells.listen(id) as signal:
            while run is not None:
                signal.clear()
                if found := run.entries[position:]:
                    position += len(found)
                    yield found
                elif run.response.done or self._runs.get(id) is not run:
                    return
                else:
                    await signal.wait()

    async def renew(self, holder: str, leases: Sequence[Lease]) -> Renewal:
        """Let leases live on."""
        held = {lease.id: run for lease in leases if (run := self._held_by(lease)) is not None}
        for run in held.values():
            run.lapses = self._clock() + self.lease_seconds
        return Renewal(
            lost=frozenset(lease.id for lease in leases if lease.id not in held),
            cancelled=frozenset(id for id, run in held.items() if run.cancelled),
        )

    async def claim(self, holder: str, most: int) -> list[Lease]:
        """Take over runs that nobody holds."""
        now = self._clock()
        lapsed = sorted((run for run in self._runs.values() if run.lapses <= now), key=lambda run: run.lapses)
        for run in lapsed[:most]:
            run.holder, run.number, run.lapses = holder, run.number + 1, now + self.lease_seconds
        return [Lease(run.response.id, holder, run.number) for run in lapsed[:most]]

    async def release(self, lease: Lease) -> None:
        """Give a run to whoever claims it next."""
        run = self._held_by(lease)
        if run is not None:
            run.holder, run.lapses = "", self._clock()
            self._changed.ring()

    async def cancel(self, id: str) -> None:
        """Ask the holder of a run to end it."""
        run = self._found(id)
        if run is not None and not run.response.done:
            run.cancelled = True
            self._changed.ring()

    async def changed(self, seconds: float) -> None:
        """Wait for a release or a cancellation."""
        await self._changed.wait(seconds)

    def _found(self, id: str) -> _Run | None:
        self._forget()
        return self._runs.get(id)

    def _held_by(self, lease: Lease) -> _Run | None:
        run = self._runs.get(lease.id)
        return run if run and (run.holder, run.number) == (lease.holder, lease.number) else None

    def _held(self, lease: Lease) -> _Run:
        run = self._held_by(lease)
        if run is None:
            raise LeaseLost(f"the run {lease.id} is no longer held")
        return run

    def _keep(self, run: _Run) -> None:
        self._runs[run.response.id] = run
        if run.response.done:
            self._done[run.response.id] = run
        run.size = run.response.size
        self._size += run.size
        self._forget()

    def _write(
        self, run: _Run, *, body: bytes | None = None, steps: Sequence[bytes] = (), entries: Sequence[bytes] = ()
    ) -> None:
        before = run.response.size
        if body is not None:
            run.response = replace(run.response, body=body)
        run.steps += steps
        run.entries += entries
        more = run.response.size - before + sum(map(len, steps)) + sum(map(len, entries))
        run.size += more
        self._size += more
        self._bells.ring(run.response.id)
        self._forget()

    def _forget(self) -> None:
        """Drop what is too old, and of the rest the oldest that are done while there is too much."""
        old = self._clock() - self._seconds
        while self._done:
            id, run = next(iter(self._done.items()))
            crowded = len(self._runs) > self._limit or self._size > self._max_bytes
            if not crowded and run.since > old:
                return
            self._drop(id)

    def _drop(self, id: str) -> None:
        self._size -= self._runs.pop(id).size
        self._done.pop(id, None)
        self._bells.ring(id)


class _Values(Labels):
    """At most `max_bytes` bytes; the first kept are the first forgotten."""

    def __init__(self, max_bytes: int, clock: Callable[[], float]) -> None:
        self._most, self._now = max_bytes, clock
        self._values: dict[str, tuple[bytes, float, frozenset[str]]] = {}
        self._taken = 0

    async def value(self, key: str) -> bytes | None:
        """What is kept under a key."""
        value, ends, _ = self._values.get(key, (None, 0.0, None))
        return value if self._now() < ends else None

    async def keep(
        self, key: str, value: bytes, seconds: float, *, new: bool = False, labels: Sequence[str] = ()
    ) -> bool:
        """Keep a value."""
        self._refuse(labels)
        if new and await self.value(key) is not None:
            return False
        await self.forget(key)
        self._values[key] = (value, self._now() + seconds, frozenset(labels))
        self._taken += len(key) + len(value)
        while self._taken > self._most:
            await self.forget(next(iter(self._values)))
        return True

    async def forget(self, key: str) -> None:
        """Forget a value."""
        if key in self._values:
            self._taken -= len(key) + len(self._values.pop(key)[0])

    async def _tidy_values(self) -> None:
        for key in [key for key, (_, ends, _) in self._values.items() if ends <= self._now()]:
            await self.forget(key)


class MemoryStore(_Runs, _Values):
    """A store that ends with its process and is shared with nobody."""

    durable = False

    def __init__(
        self,
        *,
        limit: int,
        seconds: float,
        max_bytes: int,
        lease_seconds: float = 15.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        _Runs.__init__(self, limit, seconds, max_bytes, lease_seconds, clock)
        _Values.__init__(self, max_bytes, clock)
        self._used: dict[windows.Slot, int] = {}
        self._tidied = clock()

    async def take(self, wanted: Sequence[tuple[Limit, int]]) -> Taken:
        """Take an amount under each limit, or none."""
        now = self._clock()
        if now - self._tidied > TIDY_SECONDS:
            self._tidied = now
            self._used = {slot: used for slot, used in self._used.items() if (slot[2] + 1) * slot[1] > now}
            await self._tidy_values()
        return windows.take(wanted, self._used, now)

    async def give_back(self, wanted: Sequence[tuple[Limit, int]], time: float) -> None:
        """Return amounts to their windows."""
        windows.give_back(wanted, self._used, time, self._clock())

    async def purge(self, label: str) -> int:
        """Forget what has a label."""
        self._purged |= {label}
        runs = [id for id, run in self._runs.items() if label in run.response.labels]
        values = [key for key, (_, _, labels) in self._values.items() if label in labels]
        for id in runs:
            self._drop(id)
        for key in values:
            await self.forget(key)
        return len(runs) + len(values)

    async def ready(self) -> bool:
        """Always."""
        return True

    async def aclose(self) -> None:
        """Nothing to let go of."""
