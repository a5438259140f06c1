"""Runs episodes in tests."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from decoders.environments.base import Environment
from decoders.environments.catalogue import Environments
from decoders.environments.options import Options

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], seconds: float = 60) -> T:
    return asyncio.run(asyncio.wait_for(main, seconds))


@asynccontextmanager
async def opened(options: Options, **reset: Any) -> AsyncGenerator[Environment, None]:
    """An episode of the one environment that is configured so; everything is closed behind it."""
    environments = Environments({"here": options})
    try:
        episode = await environments.open("here", reset)
        yield episode
        await episode.aclose()
    finally:
        await environments.aclose()


def relatives(mark: str) -> list[str]:
    """The command lines of processes that have the mark in their environment, this one left out."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            marked = mark.encode() in (folder / "environ").read_bytes() and int(folder.name) != os.getpid()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if marked and command:
            found.append(f"{folder.name} {command[:80]}")
    return found


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that nobody tells."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def gone(mark: str, word: str = "") -> None:
    """Wait until no process with the mark is left whose command line has the word."""
    await until(lambda: not any(word in line for line in relatives(mark)))
