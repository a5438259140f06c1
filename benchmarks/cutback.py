"""`longthink bench cutback`: runs that are cut back to a budget, beside runs that were told it from the start.

One recorded run of a problem (`longthink bench accuracy --steps`) gives its whole curve: the answer that it would have
given, had it been stopped after so many tokens. It is held against runs of the same setting with `--budget`.
Rule: both are marked by the same check on the same problems, and nothing is asked anew.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import cli
from benchmarks.anytime import Recorded, recorded
from benchmarks.canvas import COLOURS, MARKERS, frame, save
from benchmarks.report import percent, publish, table
from benchmarks.rows import BUDGET, DamagedFile, Row, Setting, by_setting, read
from benchmarks.statistics import sign_test, wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADER = ("budget", "cut back to it", "tokens", "told it", "tokens", "only cut back : only told", "sign test p")


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = cli.parser("cutback", __doc__)
    made.add_argument("files", type=Path, nargs="+", metavar="FILE", help="results of `accuracy`, some with --steps")
    made.add_argument("--decoders", default="", metavar="D1,D2", help="only these decoders")
    made.add_argument("--budgets", default="", metavar="B1,B2", help="cut back to these too (default: those told)")
    made.add_argument("--table", type=Path, help="Markdown file for the tables")
    made.add_argument("--picture", type=Path, help="PNG or SVG file")
    return made


@dataclass(frozen=True, slots=True)
class CutBack:
    """One recorded setting, and by budget the runs that were told it; by problem, on the problems of all of them."""

    setting: Setting
    runs: Mapping[str, Row]
    told: Mapping[int, Mapping[str, Row]]
    recorded: Recorded

    def right(self, budget: float) -> int:
        """How many problems are solved when every run is stopped after so many tokens."""
        return sum(track.at(budget) for track in self.recorded.tracks.values())

    def markdown(self, budgets: Sequence[int]) -> str:
        """A line a budget, then the whole runs."""
        n, found = len(self.runs), self.recorded
        lines = [self._line(budget) for budget in sorted({*budgets, *self.told})]
        whole = sum(row.correct for row in self.runs.values())
        lines.append(["whole runs", _share(whole, n), _mean(self.runs.values()), "", "", "", ""])
        about = (
            f"**{self.setting.name}**, {n} problems, recorded once; a run that is cut back has {found.reading} so far, "
            f"which at the end is as right as the run's own in {percent(found.agreement)} of them"
        )
        return f"{about}\n\n{table(HEADER, lines)}"

    def _line(self, budget: int) -> list[str]:
        n, told = len(self.runs), self.told.get(budget)
        spent = sum(min(row.completion_tokens, budget) for row in self.runs.values()) / n
        cells = [f"{budget:,}", _share(self.right(budget), n), f"{spent:,.0f}"]
        if told is None:
            return [*cells, "", "", "", ""]
        cut = {problem: track.at(budget) for problem, track in self.recorded.tracks.items()}
        wins = sum(cut[problem] and not row.correct for problem, row in told.items())
        losses = sum(row.correct and not cut[problem] for problem, row in told.items())
        right = sum(row.correct for row in told.values())
        pair = [f"{wins} : {losses}", f"{sign_test(wins, losses):.2g}"]
        return [*cells, _share(right, n), _mean(told.values()), *pair]


def _share(right: int, n: int) -> str:
    interval = wilson(right, n)
    return f"{percent(right / n)} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def _mean(rows: Iterable[Row]) -> str:
    counts = [row.completion_tokens for row in rows]
    return f"{sum(counts) / len(counts):,.0f}"


def pair(rows: Sequence[Row]) -> Iterator[CutBack]:
    """Every setting that was recorded, the largest budget of it, with the runs that were told one."""
    groups: dict[str, list[list[Row]]] = {}
    for own in by_setting(row for row in rows if row.error is None).values():
        groups.setdefault(own[0].setting.model_copy(update={BUDGET: None}).key, []).append(own)
    for settings in groups.values():
        kept = [own for own in settings if all(row.steps is not None for row in own)]
        if kept:
            whole = max(kept, key=lambda own: own[0].max_completion_tokens or float("inf"))
            yield _paired(whole, [own for own in settings if own is not whole and own[0].max_completion_tokens])


def _paired(whole: Sequence[Row], others: Sequence[Sequence[Row]]) -> CutBack:
    """`ValueError` where the settings have no problem in common."""
    problems = set.intersection(*({row.problem for row in own} for own in (whole, *others)))
    if not problems:
        raise ValueError(f"no problem in common that every run of {whole[0].setting.name} finished")
    runs = {row.problem: row for row in whole if row.problem in problems}
    told = {
        own[0].max_completion_tokens or 0: {row.problem: row for row in own if row.problem in problems}
        for own in others
    }
    return CutBack(whole[0].setting, runs, told, recorded(list(runs.values())))


def draw(found: Sequence[CutBack]) -> Figure:
    """The picture: lines are cut back, markers were told."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), facecolor="white", layout="constrained")
    axes, first = figure.add_subplot(), found[0].setting
    frame(
        axes,
        x="budget of a problem in tokens (logarithmic)",
        y="problems solved",
        title="Cut back to a budget, and told it from the start",
        about=f"{first.task} {first.level}, {first.split} problems, n = {len(found[0].runs)}; "
        "lines: recorded and cut back; marks: told; 95 % Wilson",
    )
    for number, own in enumerate(found):
        _draw(axes, own, COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)])
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    return figure


def _draw(axes: Axes, own: CutBack, colour: str, marker: str) -> None:
    n = len(own.runs)
    x = sorted({tokens for track in own.recorded.tracks.values() for tokens in track.tokens})
    solved = [own.right(budget) for budget in x]
    bands = [wilson(right, n) for right in solved]
    axes.fill_between(x, [b.low for b in bands], [b.high for b in bands], step="post", color=colour, alpha=0.13, lw=0)
    axes.step(x, [right / n for right in solved], where="post", color=colour, label=own.setting.name)
    told = [(budget, sum(row.correct for row in rows.values())) for budget, rows in sorted(own.told.items())]
    for budget, right in told:
        band = wilson(right, n)
        axes.vlines(budget, band.low, band.high, color=colour, alpha=0.4)
    axes.plot([b for b, _ in told], [right / n for _, right in told], marker, color=colour, markersize=5)


def main(argv: Sequence[str]) -> int:
    """Print the tables and draw the picture."""
    options = parser().parse_args(argv)
    wanted = [name for name in options.decoders.split(",") if name]
    try:
        budgets = [int(text) for text in options.budgets.split(",") if text]
        rows = [row for file in options.files for row in read(file)]
        found = [own for own in pair(rows) if not wanted or own.setting.decoder in wanted]
        if not found:
            raise ValueError("no run was recorded with its steps: measure with --steps")
        publish("\n\n".join(own.markdown(budgets) for own in found), options.table)
        if options.picture:
            save(draw(found), options.picture)
    except (ValueError, DamagedFile, OSError) as error:
        print(f"longthink bench cutback: {error}", file=sys.stderr)
        return 2
    except ImportError:
        print("longthink bench cutback needs matplotlib: pip install '.[bench]'", file=sys.stderr)
        return 2
    return 0
