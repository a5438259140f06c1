"""Runs a benchmark's coroutine. Rule: on uvloop where there is one, which halves the client's own cost."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


def run(main: Coroutine[None, None, None]) -> None:
    """Run it to its end."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        asyncio.run(main)
        return
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main)
