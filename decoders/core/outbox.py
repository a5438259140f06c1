"""The queue between a decoder and whoever reads its events: many events are handed over at once."""

from __future__ import annotations

import asyncio
from collections import deque

from decoders.core.events import Event


class Outbox:
    """Events wait here until they are drained; a full outbox makes the decoder wait for a slow reader."""

    def __init__(self, capacity: int = 1024) -> None:
        self._capacity = capacity
        self._events: deque[Event] = deque()
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._closed = False

    async def put(self, event: Event) -> None:
        """Add an event; returns at once unless the reader is far behind."""
        self._events.append(event)
        self._filled.set()
        while len(self._events) > self._capacity:
            self._emptied.clear()
            await self._emptied.wait()

    def close(self) -> None:
        """No further event will come."""
        self._closed = True
        self._filled.set()

    async def drain(self) -> list[Event]:
        """All waiting events, at least one; an empty list once the outbox is closed and empty."""
        while not self._events and not self._closed:
            self._filled.clear()
            await self._filled.wait()
        events = list(self._events)
        self._events.clear()
        self._emptied.set()
        return events
