"""Runs and traces shown live. Rule: a replay shows what the run showed, at the same pace unless told otherwise."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.live import Live

from clients.progress import Progress
from clients.run import Run
from clients.terminal.view import View
from clients.trace import Trace

_FRAMES = 12
_KEPT = 12
"""Steps that stay on the screen at most."""


def show(console: Console, run: Run) -> None:
    """A run as it unfolds; its newest steps and its answer stay on the screen."""
    _watch(console, run.progress, run)
    console.print(View(run.progress, steps=_KEPT, answer=run.text))


def replay(console: Console, trace: Trace, speed: float) -> None:
    """A trace as it unfolded."""
    progress = Progress(budget=trace.budget if isinstance(trace.budget, int) else None)

    def told() -> Iterator[None]:
        for pause, event in trace.replay(speed):
            time.sleep(pause)
            progress.tell(event)
            yield

    _watch(console, progress, told())
    if budget := trace.longthink.get("budget"):
        progress.close(budget["tokens"], budget["spent"])
    console.print(View(progress, steps=_KEPT, answer=trace.text))


def _watch(console: Console, progress: Progress, told: Iterable[object]) -> None:
    if not console.is_terminal:  # nothing can be redrawn
        for _ in told:
            pass
        return
    with Live(View(progress), console=console, refresh_per_second=_FRAMES, transient=True):
        for _ in told:
            pass
