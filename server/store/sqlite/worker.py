"""A thread with a connection, which does whatever waits for it in one transaction: a group commit.

Rule: a piece of work refuses before it writes. So one that raises a `LongThinkError` has left no mark in the
transaction that it shares; any other error undoes and fails all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from decoders.core.errors import LongThinkError
from server.store.base import StoreUnavailable

T = TypeVar("T")

TOGETHER = 256
"""Pieces of work in one transaction at most."""


@dataclass(slots=True)
class _Asked:
    work: Callable[[sqlite3.Connection], Any]
    answer: asyncio.Future[Any]
    outcome: Any = None
    error: Exception | None = None

    def tell(self) -> None:
        """Answer, unless nobody waits any more."""
        if self.answer.done():
            return
        if self.error is None:
            self.answer.set_result(self.outcome)
        else:
            self.answer.set_exception(self.error)


class Worker:
    """Does work in the order in which it was asked for; it belongs to one event loop.

    Every `seconds` it also does its `chore`, and soon again where that says that it is not finished.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        begin: str,
        chore: Callable[[sqlite3.Connection], bool] = lambda _: False,
        seconds: float = 5.0,
    ) -> None:
        self._connection, self._begin, self._chore, self._seconds = connection, begin, chore, seconds
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    async def do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What the work returns, once it is committed. It is done even if the caller is cancelled meanwhile."""
        if self._closed:
            raise StoreUnavailable("SQLite: the store is closed")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sqlite", daemon=True)
            self._thread.start()
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._asked.put(_Asked(work, answer))
        return await answer

    async def aclose(self) -> None:
        """Finish what was asked for."""
        self._closed = True
        if self._thread is not None:
            self._asked.put(None)
            await asyncio.to_thread(self._thread.join)
        self._connection.close()

    def _run(self) -> None:
        due = time.monotonic() + self._seconds
        while (batch := self._wait(due)) is not None:
            if batch:
                self._do(batch)
            if time.monotonic() >= due:
                due = time.monotonic() + (0.05 if self._tidy() else self._seconds)

    def _wait(self, due: float) -> list[_Asked] | None:
        """All that is asked for by now; nothing at all when the chore is due; None at the end."""
        found: list[_Asked] = []
        try:
            while len(found) < TOGETHER:
                asked = self._asked.get(timeout=0 if found else max(0, due - time.monotonic()))
                if asked is None:
                    if found:
                        self._asked.put(None)
                    return found or None
                found.append(asked)
        except queue.Empty:
            pass
        return found

    def _do(self, batch: Sequence[_Asked]) -> None:
        try:
            with _transaction(self._connection, self._begin):
                for asked in batch:
                    try:
                        asked.outcome = asked.work(self._connection)
                    except LongThinkError as error:
                        asked.error = error
        except Exception as error:
            for asked in batch:
                asked.error = StoreUnavailable(f"SQLite: {error}") if isinstance(error, sqlite3.Error) else error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            batch[0].answer.get_loop().call_soon_threadsafe(_tell, batch)

    def _tidy(self) -> bool:
        try:
            with _transaction(self._connection, self._begin):
                return self._chore(self._connection)
        except sqlite3.Error:
            return False  # it is done the next time


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Generator[None, None, None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _tell(batch: Sequence[_Asked]) -> None:
    for asked in batch:
        asked.tell()
