"""`longthink bench interaction-picture`: success over the budget of interactions, a panel a level.

Rule: points with their intervals, joined by lines, no fit.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import cli
from benchmarks.canvas import COLOURS, MARKERS, save
from benchmarks.figures import Figures, figures_of
from benchmarks.rows import DamagedFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4


def draw(found: Sequence[Figures]) -> Figure:
    """The picture; `ValueError` where nothing is finished."""
    from matplotlib.figure import Figure

    levels = list(dict.fromkeys(own.level for own in found))
    if not levels:
        raise ValueError("nothing to plot")
    columns = min(COLUMNS, len(levels))
    lines = -(-len(levels) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.0 * lines), facecolor="white", layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, level in zip(grid, levels, strict=False):
        _panel(axes, level, [own for own in found if own.level == level])
    for axes in grid[len(levels) :]:
        axes.set_visible(False)
    figure.supxlabel("interactions at most (logarithmic)", fontsize=10)
    figure.supylabel("episodes with the right answer", fontsize=10)
    sizes = sorted({own.n for own in found})
    n = " to ".join(map(str, dict.fromkeys((sizes[0], sizes[-1]))))
    about = f"{found[0].model}: {found[0].split} sites, n = {n} a point; bands: 95 % Wilson intervals"
    figure.suptitle(about, fontsize=10)
    return figure


def _panel(axes: Axes, level: str, found: Sequence[Figures]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

    axes.set_xscale("log", base=2)
    for number, k in enumerate(dict.fromkeys(str(own.options["min_answers"]) for own in found)):
        points = sorted((int(str(p.options["max_steps"])), p) for p in found if str(p.options["min_answers"]) == k)
        x = [max(budget, 0.5) for budget, _ in points]
        bands = [own.interval for _, own in points]
        colour = COLOURS[number % len(COLOURS)]
        axes.fill_between(x, [b.low for b in bands], [b.high for b in bands], color=colour, alpha=0.13, linewidth=0)
        y = [own.accuracy for _, own in points]
        marker = MARKERS[number % len(MARKERS)]
        axes.plot(x, y, color=colour, marker=marker, markersize=4, linewidth=1.6, label=f"min_answers={k}")
        axes.xaxis.set_major_locator(FixedLocator(x))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylim(0, 1.02)
    axes.grid(True, color="#e6e6e6", linewidth=0.8)
    axes.set_title(level, fontsize=10, fontweight="bold", loc="left")
    axes.legend(fontsize=7, frameon=False, loc="upper left")


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = cli.parser("interaction-picture", __doc__)
    made.add_argument("file", type=Path, metavar="FILE", help="results of `interaction`, or their `figures`")
    made.add_argument("--output", type=Path, required=True, help="PNG or SVG")
    return made


def main(argv: Sequence[str]) -> int:
    """Draw the picture and tell where it is."""
    options = parser().parse_args(argv)
    try:
        save(draw(figures_of(options.file)), options.output)
    except (ValueError, DamagedFile, OSError) as error:
        print(f"longthink bench interaction-picture: {error}", file=sys.stderr)
        return 2
    return 0
