"""A run as a picture for the terminal: its steps, votes, verdicts, purse and answer. Rule: drawn from `Progress` alone.

It fits any width and height: old steps are counted instead of shown, long texts end in an ellipsis.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from clients.progress import Progress, Step

_STYLES = {
    "turn": "cyan",
    "candidate": "cyan",
    "summary": "magenta",
    "abstraction": "magenta",
    "verdict": "yellow",
    "action": "blue",
    "running": "dim",
}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_BAR = 24
_WIDE = 50
"""Columns from which on the steps' words have room."""
_VOTES = 5


class View:
    """The picture of a run; `steps` is how many of the newest are shown, as many as fit without it."""

    def __init__(self, progress: Progress, *, steps: int | None = None, answer: str | None = None) -> None:
        self._progress, self._steps, self._answer = progress, steps, answer

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As rich asks for it."""
        yield Group(*self._parts(options))

    def _parts(self, options: ConsoleOptions) -> Iterator[RenderableType]:
        progress, width = self._progress, options.max_width
        room = max((options.height or 24) - 10, 3) if self._steps is None else self._steps
        steps = sorted(progress.steps.values(), key=_place)
        shown = steps[len(steps) - min(room, len(steps)) :]
        if hidden := len(steps) - len(shown):
            yield Text(f"… {hidden} earlier step{'s' * (hidden > 1)}", style="dim")
        if shown:
            yield _table(shown, width, over=progress.finish is not None)
        if len(progress.of("candidate")) > 1:
            yield _votes(progress, width)
        if purse := _purse(progress, width):
            yield purse
        answer = progress.text if self._answer is None else self._answer
        if answer:
            yield Padding(Text(_harmless(answer), style="bold"), (1 if steps else 0, 0, 0, 0))


def _table(steps: list[Step], width: int, *, over: bool) -> Table:
    table = Table.grid(padding=(0, 1), expand=width >= _WIDE)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    if width >= _WIDE:
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(width // 3, 12))
    for step in steps:
        kind = step.kind or ("step" if over else "running")
        style = _STYLES.get(kind, "")
        place, name = Text(_one_line(step.key), style=style), Text(_one_line(step.kind or step.role), style=style)
        tokens = Text(f"{step.end.tokens}" if step.end else "", style="dim")
        said = [Text(_one_line(_tail(step, width)), style="dim")] if width >= _WIDE else []
        table.add_row(place, name, tokens, *said, _result(step, over))
    return table


def _place(step: Step) -> list[int]:
    """Where a step stands in the run, whichever ended first."""
    return [int(part) for part in step.key.split(".") if part.isdecimal()]


def _tail(step: Step, width: int) -> str:
    """What a running step said last, and what one that is over began with."""
    if step.acted is not None:
        return step.acted.action or step.acted.observation or ""
    return step.text[: 2 * width] if step.end else step.text[-width // 2 :]


def _result(step: Step, over: bool) -> Text:
    if step.acted is not None:
        return Text(f"{step.acted.event}, {step.acted.left} left", style="blue")
    if step.end is None:
        return Text("" if over else "…", style="dim")
    if step.end.kind == "verdict":
        return _verdict(step.end.verdict)
    if step.end.answer is not None:
        return Text(f"= {_one_line(step.end.answer)}", style="green")
    return Text("cut" if step.end.finish == "length" else "", style="dim")


def _verdict(verdict: bool | float | None) -> Text:
    if isinstance(verdict, bool):
        return Text("accepts", style="green") if verdict else Text("rejects", style="red")
    return Text("no verdict" if verdict is None else f"{verdict:g}", style="yellow")


def _votes(progress: Progress, width: int) -> Table:
    table = Table.grid(padding=(0, 1))
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(width // 2, 12))
    votes = progress.votes.most_common()
    for answer, count in votes[:_VOTES]:
        table.add_row(Text("votes"), Text(f"{count:>3}", style="bold"), Text(_one_line(answer), style="green"))
    if len(votes) > _VOTES:
        table.add_row("", f"{len(votes) - _VOTES:>3}", Text("more answers", style="dim"))
    if silent := len(progress.of("candidate")) - votes_of(progress):
        table.add_row("", f"{silent:>3}", Text("without an answer", style="dim"))
    return table


def votes_of(progress: Progress) -> int:
    """How many candidates have answered."""
    return sum(1 for step in progress.of("candidate") if step.end and step.end.answer is not None)


def _purse(progress: Progress, width: int) -> Text | None:
    if not progress.spent and progress.budget is None:
        return None
    text = Text(f"{progress.spent:,} tokens", no_wrap=True, overflow="ellipsis")
    if progress.budget:
        size = min(_BAR, max(width - 54, 0))
        full = min(round(size * progress.spent / progress.budget), size)
        text = Text(f"{progress.spent:,} of {progress.budget:,} tokens", no_wrap=True, overflow="ellipsis")
        text.append(f", {progress.left:,} left ").append("█" * full, style="cyan").append("░" * (size - full), "dim")
    if progress.finish == "length":
        text.append(" cut short", style="yellow")
    return text


def _one_line(text: str) -> str:
    return " ".join(_harmless(text).split())


def _harmless(text: str) -> str:
    """Without the control characters by which a model could write elsewhere on the screen."""
    return _CONTROL.sub("�", text)
