"""Runs episodes in tests."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from decoders.environments.base import Environment
from decoders.environments.catalogue import Catalogue
from decoders.environments.options import Options

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], seconds: float = 60) -> T:
    return asyncio.run(asyncio.wait_for(main, seconds))


@asynccontextmanager
async def opened(options: Options, **reset: Any) -> AsyncGenerator[Environment, None]:
    """An episode of the one environment that is configured so; everything is closed behind it."""
    environments = Catalogue({"here": options})
    try:
        episode = await environments.open("here", reset)
        yield episode
        await episode.aclose()
    finally:
        await environments.aclose()


class Family:
    """The processes that a test has begun, found by something in their environment, and those in their sessions.

    Chromium's inner processes write over their environment, but keep the session of the browser; that is learned
    whenever `members` is asked while the browser lives.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark.encode()
        self._sessions: set[int] = set()

    def members(self, word: str = "") -> dict[int, str]:
        """Command lines by process id, of those that have the word."""
        found = [seen for folder in Path("/proc").glob("[0-9]*") if (seen := _process(folder))]
        ours = os.getsid(0)
        marked = {pid for pid, _, _, environment in found if self._mark in environment and pid != os.getpid()}
        self._sessions |= {session for pid, session, _, _ in found if pid in marked and session != ours}
        kin = {pid: command for pid, session, command, _ in found if pid in marked or session in self._sessions}
        return {pid: command for pid, command in kin.items() if command and word in command}

    async def gone(self) -> None:
        """Wait until none is left."""
        await until(lambda: not self.members())


def _process(folder: Path) -> tuple[int, int, str, bytes] | None:
    try:
        session = int((folder / "stat").read_text().rpartition(")")[2].split()[3])
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return int(folder.name), session, command, (folder / "environ").read_bytes()
    except OSError:
        return None


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that nobody tells."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.02)
