"""Runs that no client waits for. Rule: they count as requests in progress, and end when the server's time is up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from decoders.core.errors import LongThinkError
from server.connections import Connected, Connections, Refused


class Cancelled(LongThinkError):
    """Somebody has asked for an end."""


class Background:
    """The runs by id."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._running: dict[str, tuple[Connected, asyncio.Task[None]]] = {}

    def enter(self) -> Connected:
        """A guard that the run must enter first. Raises `Refused` when the server is full or about to stop."""
        return self._connections.enter(None)

    async def start(self, id: str, connected: Connected, work: Coroutine[Any, Any, None]) -> None:
        """Let `work`, which enters `connected`, go on by itself."""
        task = asyncio.create_task(work, name=f"background {id}")
        self._running[id] = (connected, task)
        task.add_done_callback(lambda _: self._running.pop(id))
        await asyncio.sleep(0)  # only what has entered can be ended

    async def cancel(self, id: str) -> None:
        """End a run and wait until it has recorded that; nothing where it does not run here."""
        await self._end([id] if id in self._running else [], Cancelled("the response was cancelled"))

    async def aclose(self) -> None:
        """End all of them."""
        await self._end(list(self._running), Refused("the server is shutting down"))

    async def _end(self, ids: list[str], reason: LongThinkError) -> None:
        ending = [self._running[id] for id in ids]
        for connected, _ in ending:
            connected.end(reason)
        if ending:
            await asyncio.wait([task for _, task in ending])
