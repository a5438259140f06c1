"""What other processes have changed in the file. Rule: it looks only while somebody waits, rings only what changed."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

from server.store.base import StoreUnavailable
from server.store.signals import Bell, Bells
from server.store.sqlite.worker import Worker

LOOK_SECONDS = 0.05

_LENGTHS = (
    "SELECT id, (SELECT max(number) FROM entries WHERE entries.id = runs.id), expires"
    " FROM runs WHERE id IN (SELECT value FROM json_each(?))"
)


class Watch:
    """Rings the bells of runs, and the one for releases and cancellations."""

    def __init__(self, reader: Worker, bells: Bells, changed: Bell, changes: int) -> None:
        self._reader, self._bells, self._changed = reader, bells, changed
        self._waiting = 0
        self._task: asyncio.Task[None] | None = None
        self._version = -1
        self._changes = changes
        self._runs: dict[str, object] = {}

    @contextmanager
    def on(self) -> Generator[None, None, None]:
        """Look now and then while this lasts."""
        self._waiting += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._stay(), name="sqlite watch")
        try:
            yield
        finally:
            self._waiting -= 1

    async def aclose(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _stay(self) -> None:
        while self._waiting:
            names = self._bells.names
            try:
                changes, runs = await self._reader.do(partial(self._look, names))
            except StoreUnavailable:
                changes, runs = self._changes, self._runs
            if changes != self._changes:
                self._changed.ring()
            for name in names:
                if name not in self._runs or runs.get(name) != self._runs[name]:
                    self._bells.ring(name)
            self._changes, self._runs = changes, {name: runs.get(name) for name in names}
            await asyncio.sleep(LOOK_SECONDS)

    def _look(self, names: list[str], tables: sqlite3.Connection) -> tuple[int, dict[str, object]]:
        """The number of changes, and length and end of the runs; as before where nothing at all was written."""
        (version,) = tables.execute("PRAGMA data_version").fetchone()
        if version == self._version:
            return self._changes, self._runs
        self._version = version
        (changes,) = tables.execute("SELECT number FROM changes").fetchone()
        return changes, {id: state for id, *state in tables.execute(_LENGTHS, (json.dumps(names),))}
