"""The queue between a decoder and whoever reads its events: many events are handed over at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from decoders.core.events import Event


class Outbox:
    """Events wait here until they are drained; a full outbox makes the decoder wait for a slow reader."""

    def __init__(self, capacity: int = 1024) -> None:
        self.listener: Callable[[Event], None] | None = None
        """Told of every event in the task that it happens in, before anybody reads of it; it must not fail."""
        self._capacity = capacity
        self._events: deque[Event] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._emptied = asyncio.Event()
        self._closed = False

    async def put(self, event: Event) -> None:
        """Add an event; returns at once unless the reader is far behind."""
        if self.listener is not None:
            self.listener(event)
        self._events.append(event)
        self._wake()
        while len(self._events) > self._capacity:
            self._emptied.clear()
            await self._emptied.wait()

    def close(self) -> None:
        """No further event will come."""
        self._closed = True
        self._wake()

    async def drain(self) -> list[Event]:
        """All waiting events, at least one; an empty list once the outbox is closed and empty."""
        while not self._events and not self._closed:
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        events = list(self._events)
        self._events.clear()
        self._emptied.set()
        return events

    def _wake(self) -> None:
        # A bare future and no asyncio.Event, which costs noticeably more: this is done for every token.
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
