"""How tasks of this process wake each other. Rule: whoever looks after it has begun to listen misses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager


class Bell:
    """Wakes whoever waits; a ring that nobody has waited for wakes the next one who does."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake them."""
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Return at the next ring, or after this time."""
        await wait(self._event, seconds)
        self._event.clear()


class Bells:
    """An event for each of those that listen to a name."""

    def __init__(self) -> None:
        self._listening: dict[str, set[asyncio.Event]] = {}

    @property
    def names(self) -> list[str]:
        """The names that somebody listens to."""
        return list(self._listening)

    @contextmanager
    def listen(self, name: str) -> Generator[asyncio.Event, None, None]:
        """An event that is set by every ring; it is the listener who clears it, before looking."""
        event = asyncio.Event()
        self._listening.setdefault(name, set()).add(event)
        try:
            yield event
        finally:
            listening = self._listening[name]
            listening.discard(event)
            if not listening:
                del self._listening[name]

    def ring(self, name: str) -> None:
        """Wake those that listen to this name."""
        for event in self._listening.get(name, ()):
            event.set()


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Return when an event is set, or after this time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
