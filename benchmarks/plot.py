"""`longthink bench plot`: accuracy against mean generated tokens or cost, several decoders in one picture.

Rule: the picture shows what was measured: points with their intervals, joined by lines, no fit; tokens are all tokens
generated for a problem. A decoder keeps its colour; further files of the same decoder differ by the line.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import cli, prices
from benchmarks.canvas import COLOURS, LINES, MARKERS, frame, save
from benchmarks.curves import Curve, load
from benchmarks.rows import DamagedFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABEL_GAP, LABEL_WIDTH = 0.05, 0.3
MARK_GAP = 0.03


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = cli.parser("plot", __doc__)
    made.add_argument("files", type=Path, nargs="+", metavar="FILE", help="results of `longthink bench accuracy`")
    made.add_argument("--output", type=Path, required=True, help="PNG or SVG")
    made.add_argument("--title", default="", help="default: task and level")
    made.add_argument("--label", action="append", default=[], help="a name for each file, in the order of the files")
    made.add_argument("--decoders", default="", metavar="D1,D2", help="only these decoders")
    prices.add_options(made)
    return made


@dataclass(frozen=True, slots=True)
class Style:
    """How one curve is drawn; only the first curve of a decoder tells its options at the markers."""

    colour: str
    line: str
    marker: str
    annotated: bool


def styles(curves: Sequence[Curve]) -> list[Style]:
    """A colour for each decoder, a line for each of its curves."""
    decoders = list(dict.fromkeys(curve.decoder for curve in curves))
    seen: dict[str, int] = dict.fromkeys(decoders, 0)
    found = []
    for curve in curves:
        colour, nth = decoders.index(curve.decoder), seen[curve.decoder]
        seen[curve.decoder] += 1
        found.append(
            Style(COLOURS[colour % len(COLOURS)], LINES[nth % len(LINES)], MARKERS[colour % len(MARKERS)], nth == 0)
        )
    return found


def draw(curves: Sequence[Curve], title: str) -> Figure:
    """The picture; `ValueError` without curves."""
    from matplotlib.figure import Figure

    if not curves:
        raise ValueError("nothing to plot")
    figure = Figure(figsize=(8, 5), facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    _frame(axes, curves, title)
    for curve, style in zip(curves, styles(curves), strict=True):
        _curve(axes, curve, style)
    _labels(axes, curves, styles(curves))
    return figure


def _frame(axes: Axes, curves: Sequence[Curve], title: str) -> None:
    spent = [point.spent for curve in curves for point in curve.points]
    low, high = min(spent), max(spent)
    low, high = (low or 1.0, high) if high > low else (low / 2 or 1.0, 2 * high or 2.0)
    first = curves[0].fixed
    sizes = sorted({point.n for curve in curves for point in curve.points})
    n = f"n = {sizes[0]}" if len(sizes) == 1 else f"n = {sizes[0]} to {sizes[-1]}"
    frame(
        axes,
        x=f"{curves[0].prices.unit} (mean, logarithmic)",
        y="problems solved",
        title=title or f"{first.task}, {first.level}",
        about=f"{first.task} {first.level}, {first.split} problems, {n}; bands: 95 % Wilson intervals",
    )
    width = max(high / low, 2.0)
    axes.set_xlim(low / width**0.06, high * width**0.3)  # the labels stand to the right of the lines


def _curve(axes: Axes, curve: Curve, style: Style) -> None:
    x = [point.spent for point in curve.points]
    y = [point.accuracy for point in curve.points]
    intervals = [point.interval for point in curve.points]
    low, high = [i.low for i in intervals], [i.high for i in intervals]
    if len(x) > 1:
        axes.fill_between(x, low, high, color=style.colour, alpha=0.13, linewidth=0)
    else:
        axes.vlines(x, low, high, color=style.colour, alpha=0.4)
    axes.plot(x, y, color=style.colour, linestyle=style.line, marker=style.marker, markersize=5, linewidth=1.8)
    if style.annotated and curve.axis:
        _values(axes, curve, style)


def _values(axes: Axes, curve: Curve, style: Style) -> None:
    """The swept option's value under each marker, from the right; markers that touch the one before have none."""
    from matplotlib.patheffects import withStroke

    before = float("inf")
    for point in reversed(curve.points):
        place = axes.transAxes.inverted().transform(axes.transData.transform((point.spent, point.accuracy)))[0]
        if before - place < MARK_GAP:
            continue
        before = place
        axes.annotate(
            str(point.setting.axis_value),
            (point.spent, point.accuracy),
            xytext=(0, -12),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
            color=style.colour,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )


def _labels(axes: Axes, curves: Sequence[Curve], chosen: Sequence[Style]) -> None:
    """Each curve's name at its end, moved down where it would touch another one."""
    from matplotlib.patheffects import withStroke

    placed: list[tuple[float, float]] = []
    ends = [(curve.points[-1].spent, curve.points[-1].accuracy) for curve in curves]
    for i in sorted(range(len(curves)), key=lambda i: -ends[i][1]):
        x, y = axes.transAxes.inverted().transform(axes.transData.transform(ends[i]))
        for other_x, other_y in placed:
            if abs(x - other_x) < LABEL_WIDTH and other_y - y < LABEL_GAP:
                x, y = max(x, other_x), other_y - LABEL_GAP
        placed.append((float(x), float(y)))
        axes.annotate(
            curves[i].label + (f" ({curves[i].axis})" if chosen[i].annotated and curves[i].axis else ""),
            (x, y),
            xycoords="axes fraction",
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            fontsize=9.5,
            color=chosen[i].colour,
            fontweight="bold",
            annotation_clip=False,
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )


def main(argv: Sequence[str]) -> int:
    """Draw the picture and tell where it is."""
    options = parser().parse_args(argv)
    wanted = [name for name in options.decoders.split(",") if name]
    try:
        curves = [
            c for c in load(options.files, options.label, prices.of(options)) if not wanted or c.decoder in wanted
        ]
        figure = draw(curves, options.title)
    except (ValueError, DamagedFile, OSError) as error:
        print(f"longthink bench plot: {error}", file=sys.stderr)
        return 2
    except ImportError:
        print("longthink bench plot needs matplotlib: pip install '.[bench]'", file=sys.stderr)
        return 2
    save(figure, options.output)
    return 0
