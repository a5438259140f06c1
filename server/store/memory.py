# ruff: noqa: D102
"""Runs, values and counters in this process's memory. Rule: what it takes is bounded; what goes on is never dropped."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator, Callable, Sequence

from server.store.base import Lease, LeaseLost, Limit, Renewal, Stored, Taken


class _Run:
    def __init__(self, response: Stored, now: float) -> None:
        self.response = response
        self.entries: list[bytes] = []
        self.steps: list[bytes] = []
        self.size = response.size
        self.age = now
        self.lease: Lease | None = None
        self.until = 0.0
        self.cancelled = self.gone = False
        self.signal = asyncio.Event()

    def change(self, now: float) -> None:
        self.age = now
        self.signal.set()
        self.signal = asyncio.Event()


class MemoryStore:
    """At most `limit` responses and `max_bytes` bytes, each for `seconds` after its end."""

    def __init__(
        self,
        *,
        limit: int,
        seconds: float,
        max_bytes: int,
        lease_seconds: float = 15.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.durable = False
        self.lease_seconds = lease_seconds
        self._limit, self._seconds, self._max_bytes, self._clock = limit, seconds, max_bytes, clock
        self._runs: dict[str, _Run] = {}
        self._size = 0
        self._values: dict[str, tuple[bytes, float]] = {}
        self._counts: dict[tuple[str, int, int], int] = {}
        self._change = asyncio.Event()

    async def put(self, response: Stored) -> None:
        self._add(response)

    async def create(self, response: Stored, holder: str) -> Lease:
        run = self._add(response)
        run.lease, run.until = Lease(response.id, holder, 1), self._clock() + self.lease_seconds
        return run.lease

    async def get(self, id: str) -> Stored | None:
        self._forget()
        run = self._runs.get(id)
        return run.response if run else None

    async def delete(self, id: str) -> bool:
        run = self._runs.get(id)
        if run is not None:
            self._drop(run)
        return run is not None

    async def update(self, lease: Lease, body: bytes) -> None:
        run = self._held(lease)
        self._grow(run, len(body) - len(run.response.body))
        run.response = dataclasses.replace(run.response, body=body)

    async def append(self, lease: Lease, entries: Sequence[bytes]) -> None:
        run = self._held(lease)
        run.entries += entries
        self._grow(run, sum(map(len, entries)))
        run.change(self._clock())

    async def record(self, lease: Lease, steps: Sequence[bytes]) -> None:
        run = self._held(lease)
        run.steps += steps
        self._grow(run, sum(map(len, steps)))

    async def finish(self, lease: Lease, body: bytes, entries: Sequence[bytes]) -> None:
        run = self._held(lease)
        run.entries += entries
        self._grow(run, sum(map(len, entries)) + len(body) - len(run.response.body))
        run.response = dataclasses.replace(run.response, body=body, done=True)
        run.lease = None
        run.change(self._clock())
        self._forget()

    async def steps(self, id: str) -> list[bytes]:
        run = self._runs.get(id)
        return list(run.steps) if run else []

    async def entries(self, id: str) -> list[bytes]:
        run = self._runs.get(id)
        return list(run.entries) if run else []

    async def follow(self, id: str, after: int) -> AsyncGenerator[Sequence[bytes], None]:
        run, position = self._runs.get(id), after + 1
        while run is not None:
            signal, entries = run.signal, run.entries[position:]
            if entries:
                position += len(entries)
                yield entries
            elif run.response.done or run.gone:
                return
            else:
                await signal.wait()

    async def renew(self, holder: str, leases: Sequence[Lease]) -> Renewal:
        lost, cancelled = set[str](), set[str]()
        for lease in leases:
            run = self._runs.get(lease.id)
            if run is None or run.lease != lease:
                lost.add(lease.id)
                continue
            run.until = self._clock() + self.lease_seconds
            if run.cancelled:
                cancelled.add(lease.id)
        return Renewal(frozenset(lost), frozenset(cancelled))

    async def claim(self, holder: str, most: int) -> list[Lease]:
        now, found = self._clock(), list[Lease]()
        for id, run in self._runs.items():
            if len(found) < most and run.lease is not None and run.until <= now:
                run.lease, run.until = Lease(id, holder, run.lease.number + 1), now + self.lease_seconds
                found.append(run.lease)
        return found

    async def release(self, lease: Lease) -> None:
        run = self._runs.get(lease.id)
        if run is not None and run.lease == lease:
            run.lease, run.until = dataclasses.replace(lease, holder=""), 0.0
            self._changed()

    async def cancel(self, id: str) -> None:
        run = self._runs.get(id)
        if run is not None and run.lease is not None:
            run.cancelled = True
            self._changed()

    async def changed(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._change.wait()
        except TimeoutError:
            pass

    async def value(self, key: str) -> bytes | None:
        kept = self._values.get(key)
        return kept[0] if kept and kept[1] > self._clock() else None

    async def keep(self, key: str, value: bytes, seconds: float, *, new: bool = False) -> bool:
        if new and await self.value(key) is not None:
            return False
        self._values[key] = (value, self._clock() + seconds)
        return True

    async def forget(self, key: str) -> None:
        self._values.pop(key, None)

    async def take(self, wanted: Sequence[tuple[Limit, int]]) -> Taken:
        raise NotImplementedError

    async def give_back(self, wanted: Sequence[tuple[Limit, int]], time: float) -> None:
        raise NotImplementedError

    async def ready(self) -> bool:
        return True

    async def aclose(self) -> None:
        pass

    def _held(self, lease: Lease) -> _Run:
        run = self._runs.get(lease.id)
        if run is None or run.lease != lease:
            raise LeaseLost(f"the run {lease.id} is somebody else's now, or was deleted")
        return run

    def _changed(self) -> None:
        self._change.set()
        self._change = asyncio.Event()

    def _add(self, response: Stored) -> _Run:
        run = self._runs[response.id] = _Run(response, self._clock())
        self._size += run.size
        self._forget()
        return run

    def _grow(self, run: _Run, size: int) -> None:
        run.size += size
        self._size += size

    def _forget(self) -> None:
        now = self._clock()
        for run in [r for r in self._runs.values() if r.response.done]:
            crowded = len(self._runs) > self._limit or self._size > self._max_bytes
            if crowded or now - run.age > self._seconds:
                self._drop(run)

    def _drop(self, run: _Run) -> None:
        del self._runs[run.response.id]
        self._size -= run.size
        run.gone = True
        run.change(self._clock())
