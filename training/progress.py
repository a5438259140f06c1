"""How far a run is, for a person: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINES = 20
"""Lines of a whole run where there is no terminal."""


class Bar:
    """Steps done, the newest rewards, the time left."""

    def __init__(self, name: str, steps: int, done: int) -> None:
        self._steps = steps
        self._every = max(steps // LINES, 1)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=Console(file=sys.stderr), disable=not sys.stderr.isatty())
        self._task = self._progress.add_task(name, total=steps, completed=done, told="")
        self._progress.start()

    def step(self, metrics: Mapping[str, Any]) -> None:
        """A step is done."""
        step = int(metrics["step"])
        shown = [f"{name.removeprefix('reward/')} {value:.3f}" for name, value in metrics.items() if "reward/" in name]
        told = ", ".join(shown)
        self._progress.update(self._task, completed=step, told=told)
        if self._progress.disable and (step % self._every == 0 or step == self._steps):
            self.say(f"step {step:>5} of {self._steps}  {told}  {metrics['seconds']:.0f} s")

    def say(self, line: str) -> None:
        """A line above the bar."""
        if self._progress.disable:
            print(line, file=sys.stderr, flush=True)
        else:
            self._progress.console.print(line, highlight=False)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._progress.stop()
