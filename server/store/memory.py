"""Responses in this process's memory. Rule: what it takes is bounded by number, age and bytes; running ones stay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence

from server.store.base import Stored


class _Entry:
    """A response with its events."""

    def __init__(self, response: Stored, now: float) -> None:
        self.response = response
        self.events: list[bytes] = []
        self.size = response.size
        self.changed = now
        self.gone = False
        self.signal = asyncio.Event()

    def change(self, now: float) -> None:
        """Wake up who follows."""
        self.changed = now
        self.signal.set()
        self.signal = asyncio.Event()


class MemoryStore:
    """At most `limit` responses and `max_bytes` bytes, each for `seconds` after its last change."""

    def __init__(
        self, *, limit: int, seconds: float, max_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit, self._seconds, self._max_bytes, self._clock = limit, seconds, max_bytes, clock
        self._entries: dict[str, _Entry] = {}
        self._size = 0

    async def put(self, response: Stored) -> None:
        """Keep a response, or what has become of it."""
        entry = self._entries.get(response.id)
        if entry is None:
            entry = self._entries[response.id] = _Entry(response, self._clock())
            self._size += entry.size
        else:
            self._grow(entry, response.size - entry.response.size)
            entry.response = response
            entry.change(self._clock())
        self._forget()

    async def get(self, id: str) -> Stored | None:
        """The response of this id, if it is still there."""
        self._forget()
        entry = self._entries.get(id)
        return entry.response if entry else None

    async def delete(self, id: str) -> bool:
        """Forget a response with its events; whether it was there."""
        entry = self._entries.get(id)
        if entry is not None:
            self._drop(entry)
        return entry is not None

    async def append(self, id: str, events: Sequence[bytes]) -> None:
        """Add events to the log of a response that is kept."""
        entry = self._entries.get(id)
        if entry is not None and events:
            entry.events += events
            self._grow(entry, sum(map(len, events)))
            entry.change(self._clock())

    async def follow(self, id: str, after: int) -> AsyncGenerator[Sequence[bytes], None]:
        """The events numbered above `after`, then further ones as they come."""
        entry = self._entries.get(id)
        position = after + 1
        while entry is not None:
            signal, events = entry.signal, entry.events[position:]
            if events:
                position += len(events)
                yield events
            elif entry.response.done or entry.gone:
                return
            else:
                await signal.wait()

    def _grow(self, entry: _Entry, size: int) -> None:
        entry.size += size
        self._size += size

    def _forget(self) -> None:
        """Drop what is too old, and of the rest the oldest that are done while there is too much."""
        now = self._clock()
        for entry in [e for e in self._entries.values() if e.response.done]:
            crowded = len(self._entries) > self._limit or self._size > self._max_bytes
            if crowded or now - entry.changed > self._seconds:
                self._drop(entry)

    def _drop(self, entry: _Entry) -> None:
        del self._entries[entry.response.id]
        self._size -= entry.size
        entry.gone = True
        entry.change(self._clock())
