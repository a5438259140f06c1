"""`longthink bench panels`: one small picture for each decoder, the same reference curves in grey behind all of them.

Rule: every panel has the same axes, so that panels can be compared by eye; points are what was measured.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import cli, prices
from benchmarks.canvas import COLOURS, label_budget, save
from benchmarks.curves import Curve, load
from benchmarks.rows import DamagedFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4
GREYS = ("#9a9a9a", "#5e5e5e", "#c4c4c4")


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = cli.parser("panels", __doc__)
    made.add_argument("files", type=Path, nargs="+", metavar="FILE", help="results of `accuracy` or `suite`")
    made.add_argument("--output", type=Path, required=True, help="PNG or SVG")
    made.add_argument(
        "--reference", default="self_consistency,rc", metavar="D1,D2", help="in every panel (default: these)"
    )
    prices.add_options(made)
    return made


def draw(curves: Sequence[Curve], reference: Sequence[str]) -> Figure:
    """The picture; `ValueError` without curves."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(curve.decoder for curve in curves))
    if not names:
        raise ValueError("nothing to plot")
    rows = ceil(len(names) / COLUMNS)
    figure = Figure(figsize=(3.1 * COLUMNS, 2.5 * rows), facecolor="white", layout="constrained")
    grid = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, name in zip(grid, names, strict=False):
        behind = [(c, GREYS[i % len(GREYS)]) for i, r in enumerate(reference) for c in curves if c.decoder == r != name]
        _panel(axes, name, [c for c in curves if c.decoder == name], behind)
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    first = curves[0].fixed
    figure.supxlabel(f"{curves[0].prices.unit} (mean, logarithmic)", fontsize=10)
    figure.supylabel("problems solved", fontsize=10)
    sizes = sorted({point.n for curve in curves for point in curve.points})
    figure.suptitle(
        f"{first.task} {first.level}, {first.split} problems, n = {sizes[0]}"
        + (f" to {sizes[-1]}" if len(sizes) > 1 else "")
        + f"; bands: 95 % Wilson intervals; grey: {', '.join(reference)}",
        fontsize=10,
    )
    return figure


def _panel(axes: Axes, name: str, own: Sequence[Curve], behind: Sequence[tuple[Curve, str]]) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.set_xscale("log")
    label_budget(axes.xaxis)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylim(0, 1)
    axes.grid(True, color="#ececec", linewidth=0.7)
    for curve, grey in behind:
        axes.plot(*_points(curve), color=grey, linewidth=1.1)
    for number, curve in enumerate(own):
        colour = COLOURS[number % len(COLOURS)]
        x, y = _points(curve)
        low, high = zip(*((p.interval.low, p.interval.high) for p in curve.points), strict=True)
        if len(x) > 1:
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        else:
            axes.vlines(x, low, high, color=colour, alpha=0.4)
        axes.plot(x, y, color=colour, marker="o", markersize=3.5, linewidth=1.6, label=curve.label)
    axes.set_title(name, fontsize=10, fontweight="bold", loc="left")
    if len(own) > 1:
        labels = [curve.label.removeprefix(name).strip() or name for curve in own]
        axes.legend(labels=labels, handles=axes.get_lines()[-len(own) :], fontsize=6.5, frameon=False)


def _points(curve: Curve) -> tuple[list[float], list[float]]:
    return [point.spent for point in curve.points], [point.accuracy for point in curve.points]


def main(argv: Sequence[str]) -> int:
    """Draw the picture and tell where it is."""
    options = parser().parse_args(argv)
    try:
        figure = draw(
            load(options.files, prices=prices.of(options)), [name for name in options.reference.split(",") if name]
        )
    except (ValueError, DamagedFile, OSError) as error:
        print(f"longthink bench panels: {error}", file=sys.stderr)
        return 2
    except ImportError:
        print("longthink bench panels needs matplotlib: pip install '.[bench]'", file=sys.stderr)
        return 2
    save(figure, options.output)
    return 0
