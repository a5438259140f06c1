"""What clients leave behind, however they go: no task, no file, no call of the engine."""

from __future__ import annotations

import asyncio
import gc
import os
from typing import Any

import pytest

from server.engines.scripted import ScriptedEngine
from tests.security.conftest import guarded
from tests.server.conftest import until


def tasks() -> int:
    """Unfinished tasks of all event loops in this process."""
    # by the type: isinstance would ask `__class__`, and some object in the process warns when it is asked anything
    return sum(issubclass(type(thing), asyncio.Task) and not thing.done() for thing in gc.get_objects())


def files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("fields", [{}, {"n": 3}, {"decoder": "self_consistency"}, {"decoder": "rc"}], ids=str)
def test_streams_leave_nothing_behind(fields: dict[str, Any]) -> None:
    engine = ScriptedEngine([" ".join(["word"] * 200)], model="base", token_delay=0.05)
    with guarded(engine, stall_seconds=60) as running:
        running.ask(max_tokens=1)
        assert until(lambda: engine.open_calls == 0, 5)
        before = tasks(), files()
        streams = [running.raw(stream=True, **fields) for _ in range(30)]
        assert until(lambda: engine.open_calls >= 30 and files() >= before[1] + 60, 10)
        assert tasks() > before[0] + 30
        for stream in streams:
            stream.close()
        assert until(lambda: engine.open_calls == 0, 5)
        # httpx's own connection of `ask` may have been closed meanwhile
        assert until(lambda: (tasks(), files()) <= before, 10), (tasks(), files(), before)
