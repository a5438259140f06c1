"""`longthink bench regret`: how far decoders stay behind a comparator, over all budgets up to one.

MRT's normalised cumulative regret (arXiv 2503.07572) as a curve for every decoder and checkpoint:

    R(C) = mean over problems of 1/C ∫ (J* - J(c)) dc, from c = 0 to C

J(c) is the success of a decoder that may spend c, and J* that of the comparator: 1, an oracle that knows the answer at
once, or the best accuracy that any of the compared reaches. J is a step function: a budget between two that were
measured buys the cheaper one, before the first there is nothing, and after the last it stays (the paper joins points
by straight lines). Where J comes from: of the settings of a sweep, the one of the largest mean cost that c pays for, so
that nobody has to know beforehand what a problem will take; with --recorded, one run a problem, cut back to c.
Rule: all curves are over the same problems, and what is resampled is problems.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log2
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from benchmarks import cli, prices
from benchmarks.anytime import recorded
from benchmarks.canvas import COLOURS, frame, save
from benchmarks.curves import Curve, Point, load, outcomes
from benchmarks.report import publish, table
from benchmarks.rows import DamagedFile, Setting
from benchmarks.statistics import Array, Estimate, Interval, Outcomes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURED = 96
"""Budgets at which a curve is computed for the picture."""
SHOWN = 4
"""Budgets of the table."""
BANDS = 8
"""Curves at most whose intervals are drawn: more would hide each other, and stand in the table."""
LINES = ("-", "--", "-.")


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = cli.parser("regret", __doc__)
    made.add_argument("files", type=Path, nargs="+", metavar="FILE", help="results of `accuracy` or `suite`, JSONL")
    made.add_argument("--label", action="append", default=[], help="a name for each file, in the order of the files")
    made.add_argument("--decoders", default="", metavar="D1,D2", help="only these decoders")
    made.add_argument("--recorded", action="store_true", help="one run a problem cut back, measured with --steps")
    made.add_argument("--comparator", choices=("oracle", "best"), default="oracle", help="default: oracle")
    made.add_argument("--budgets", default="", metavar="C1,C2", help="of the table (default: four of them)")
    prices.add_options(made)
    made.add_argument("--resamples", type=int, default=2000, help="of the bootstrap (default: 2000)")
    made.add_argument("--table", type=Path, help="Markdown file for the table")
    made.add_argument("--picture", type=Path, help="PNG or SVG file")
    made.add_argument("--title", default="", help="of the picture (default: task and level)")
    return made


class Source(Protocol):
    """Where J(c) comes from, over a fixed list of problems. `weights` are [replicates, problems], each summing to 1."""

    def success(self, weights: Array, budgets: Sequence[float]) -> Array:
        """1/C ∫ J(c) dc from 0 to each budget C: [replicates, budgets]."""

    def best(self, weights: Array) -> Array:
        """The best accuracy that was measured: [replicates]."""

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest mean cost that was measured."""


@dataclass(frozen=True, slots=True)
class Swept:
    """The settings of a curve."""

    outcomes: Outcomes

    def success(self, weights: Array, budgets: Sequence[float]) -> Array:
        """Each setting counts from its mean cost up to that of the next one."""
        spent, right = weights @ self.outcomes.spent.T, weights @ self.outcomes.correct.T
        order = np.argsort(spent, axis=1, kind="stable")
        starts, level = np.take_along_axis(spent, order, 1), np.take_along_axis(right, order, 1)
        ends = np.concatenate([starts[:, 1:], np.full((len(starts), 1), np.inf)], axis=1)
        lengths = (np.clip(ends, None, C) - np.clip(starts, None, C) for C in budgets)
        return np.stack([(level * own).sum(1) / C for own, C in zip(lengths, budgets, strict=True)], axis=1)

    def best(self, weights: Array) -> Array:
        """Of all settings."""
        found: Array = (weights @ self.outcomes.correct.T).max(axis=1)
        return found

    @property
    def ends(self) -> tuple[float, float]:
        """Of the cheapest and the costliest setting."""
        means = self.outcomes.spent.mean(1)
        return float(means.min()), float(means.max())


class CutBack:
    """One recorded run a problem."""

    def __init__(self, point: Point, problems: Sequence[str]) -> None:
        tracks = recorded(list(point.rows.values())).tracks
        self._tracks = [tracks[problem] for problem in problems]
        self._right = np.array([float(point.rows[problem].correct) for problem in problems])

    def success(self, weights: Array, budgets: Sequence[float]) -> Array:
        """Exact for each problem, by its own tokens."""
        found: Array = weights @ np.array([[track.share(budget) for budget in budgets] for track in self._tracks])
        return found

    def best(self, weights: Array) -> Array:
        """Of the whole runs."""
        found: Array = weights @ self._right
        return found

    @property
    def ends(self) -> tuple[float, float]:
        """Of first answers and of whole runs."""
        first, last = zip(*((track.tokens[0], track.tokens[-1]) for track in self._tracks), strict=True)
        return float(np.mean(first)), float(np.mean(last))


@dataclass(frozen=True, slots=True)
class Regrets:
    """All curves on their common problems; replicate 0 is the problems as they are."""

    fixed: Setting
    labels: list[str]
    sources: list[Source]
    weights: Array
    comparator: str
    unit: str

    @property
    def problems(self) -> int:
        """How many they have in common."""
        return int(self.weights.shape[1])

    def at(self, budgets: Sequence[float]) -> Array:
        """R(C): [curves, replicates, budgets]."""
        success = np.stack([source.success(self.weights, budgets) for source in self.sources])
        if self.comparator == "oracle":
            return 1 - success
        best: Array = np.max([source.best(self.weights) for source in self.sources], axis=0)
        return best[None, :, None] - success

    def grid(self, number: int) -> list[float]:
        """Budgets over all that was measured, evenly in the logarithm."""
        low, high = min(source.ends[0] for source in self.sources), max(source.ends[1] for source in self.sources)
        return [float(x) for x in np.geomspace(max(low, high / 1e6), high * 2 if low == high else high, number)]


def compare(curves: Sequence[Curve], *, runs: bool, comparator: str, resamples: int) -> Regrets:
    """The curves side by side. `ValueError` where there are none, with no problem in common, or without steps."""
    chosen = [curve.points[-1] for curve in curves]
    if runs:
        kept = [i for i, point in enumerate(chosen) if point.recorded]
        curves, chosen = [curves[i] for i in kept], [chosen[i] for i in kept]
    if not curves:
        raise ValueError("no run was recorded with its steps: measure with --steps" if runs else "nothing to compare")
    points = chosen if runs else [point for curve in curves for point in curve.points]
    problems = sorted(set.intersection(*(set(point.rows) for point in points)))
    if not problems:
        raise ValueError("the curves have no problem in common that every setting finished, or are not rows")
    n = len(problems)
    drawn = np.random.default_rng(0).multinomial(n, [1 / n] * n, resamples) / n
    sources: list[Source] = [CutBack(point, problems) for point in chosen] if runs else []
    sources = sources or [Swept(outcomes(curve, problems)) for curve in curves]
    labels = [f"{c.label}: {p.setting.name}" if runs else c.label for c, p in zip(curves, chosen, strict=True)]
    weights = np.concatenate([np.full((1, n), 1 / n), drawn])
    return Regrets(curves[0].fixed, labels, sources, weights, comparator, curves[0].prices.unit)


def estimates(replicates: Array, confidence: float = 0.95) -> list[Estimate]:
    """A value and its percentile interval for each budget, of [replicates, budgets] with the value itself first."""
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(replicates[1:], [tail, 100 - tail], axis=0)
    return [Estimate(float(v), Interval(float(a), float(b))) for v, a, b in zip(replicates[0], low, high, strict=True)]


def markdown(found: Regrets, budgets: Sequence[float]) -> str:
    """A line a decoder, the least regret at the last budget first, and its difference to the first line there."""
    values = found.at(budgets)
    order = sorted(range(len(found.labels)), key=lambda i: float(values[i, 0, -1]))
    lines = []
    for i in order:
        cells = [_shown(own) for own in estimates(values[i])]
        behind = estimates(values[i, :, -1:] - values[order[0], :, -1:])[0]
        lines.append([found.labels[i], *cells, "" if i == order[0] else _shown(behind)])
    star = "1" if found.comparator == "oracle" else "the best accuracy reached by any of them"
    about = (
        f"Normalised regret R(C) with J* = {star}, {found.problems} common problems of {found.fixed.task} "
        f"{found.fixed.level}, C in {found.unit}; 95 % intervals by a bootstrap over problems. Less is better."
    )
    header = ("decoder", *(f"R({_budget(C)})" for C in budgets), "behind the first")
    return f"{about}\n\n{table(header, lines)}"


def _shown(own: Estimate) -> str:
    return f"{own.value:.3f} ({own.interval.low:.3f} to {own.interval.high:.3f})"


def _budget(spent: float) -> str:
    return f"{spent:,.0f}" if spent >= 1 else f"{spent:.3g}"


def draw(found: Regrets, title: str) -> Figure:
    """The picture: solid as far as a decoder was measured, dotted where its last value is held."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), facecolor="white", layout="constrained")
    axes, fixed = figure.add_subplot(), found.fixed
    about = f"{fixed.split} problems, n = {found.problems}; dotted: nothing measured, the last accuracy is held"
    frame(
        axes,
        x=f"C in {found.unit} (logarithmic)",
        y="normalised regret up to C",
        title=title or f"Regret: {fixed.task}, {fixed.level}",
        about=about,
    )
    budgets = found.grid(PICTURED)
    values = found.at(budgets)
    axes.set_ylim(max(float(values[:, 0].min()) - 0.1, 0), 1.02)
    for i in sorted(range(len(found.labels)), key=lambda i: float(values[i, 0, -1])):
        colour, line = COLOURS[i % len(COLOURS)], LINES[i // len(COLOURS) % len(LINES)]
        measured = sum(budget <= found.sources[i].ends[1] for budget in budgets)
        if len(found.labels) <= BANDS:
            low, high = np.percentile(values[i, 1:], [2.5, 97.5], axis=0)
            axes.fill_between(budgets, low, high, color=colour, alpha=0.1, linewidth=0)
        axes.plot(budgets[:measured], values[i, 0, :measured], line, color=colour, lw=1.7, label=found.labels[i])
        axes.plot(budgets[measured - 1 :], values[i, 0, measured - 1 :], ":", color=colour, linewidth=0.9)
    axes.legend(fontsize=7.5, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def powers(found: Regrets) -> list[float]:
    """Up to four budgets, each four times the one before; the last is the first power of two that pays for all."""
    low, high = found.grid(2)
    last = ceil(log2(high))
    return [2.0**power for power in range(last, floor(log2(low)) - 1, -2)][:SHOWN][::-1]


def main(argv: Sequence[str]) -> int:
    """Print the table and draw the picture."""
    options = parser().parse_args(argv)
    wanted = [name for name in options.decoders.split(",") if name]
    try:
        paid = prices.of(options)
        if options.recorded and paid is not prices.TOKENS:
            raise ValueError("steps do not tell their prompt tokens: --recorded is over tokens only")
        curves = [c for c in load(options.files, options.label, paid) if not wanted or c.decoder in wanted]
        found = compare(curves, runs=options.recorded, comparator=options.comparator, resamples=options.resamples)
        budgets = sorted(float(text) for text in options.budgets.split(",") if text) or powers(found)
        publish(markdown(found, budgets), options.table)
        if options.picture:
            save(draw(found, options.title), options.picture)
    except (ValueError, DamagedFile, OSError) as error:
        print(f"longthink bench regret: {error}", file=sys.stderr)
        return 2
    except ImportError:
        print("longthink bench regret needs matplotlib: pip install '.[bench]'", file=sys.stderr)
        return 2
    return 0
