"""Success over the budget of interactions, a panel a level.

Rule: points with their intervals, joined by lines, no fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.plot import COLOURS, DPI, MARKERS
from benchmarks.rows import Row, Setting, by_setting
from benchmarks.statistics import wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4


def draw(rows: Iterable[Row], wanted: Sequence[Setting]) -> Figure:
    """The picture; `ValueError` where nothing is finished."""
    from matplotlib.figure import Figure

    good = by_setting({row.id: row for row in rows if row.error is None}.values())
    levels = list(dict.fromkeys(setting.level for setting in wanted if setting.key in good))
    if not levels:
        raise ValueError("nothing to plot")
    columns = min(COLUMNS, len(levels))
    lines = -(-len(levels) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.0 * lines), facecolor="white", layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, level in zip(grid, levels, strict=False):
        _panel(axes, level, [s for s in wanted if s.level == level and s.key in good], good)
    for axes in grid[len(levels) :]:
        axes.set_visible(False)
    figure.supxlabel("interactions at most (logarithmic)", fontsize=10)
    figure.supylabel("episodes with the right answer", fontsize=10)
    sizes = sorted({len(found) for found in good.values()})
    n = " to ".join(map(str, dict.fromkeys((sizes[0], sizes[-1]))))
    about = f"{wanted[0].model}: {wanted[0].split} sites, n = {n} a point; bands: 95 % Wilson intervals"
    figure.suptitle(about, fontsize=10)
    return figure


def _panel(axes: Axes, level: str, own: Sequence[Setting], good: dict[str, list[Row]]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

    axes.set_xscale("log", base=2)
    for number, k in enumerate(dict.fromkeys(str(setting.options["min_answers"]) for setting in own)):
        points = sorted(
            (int(str(s.options["max_steps"])), good[s.key]) for s in own if str(s.options["min_answers"]) == k
        )
        x = [max(budget, 0.5) for budget, _ in points]
        right = [sum(row.correct for row in found) for _, found in points]
        bands = [wilson(r, len(found)) for r, (_, found) in zip(right, points, strict=True)]
        colour = COLOURS[number % len(COLOURS)]
        axes.fill_between(x, [b.low for b in bands], [b.high for b in bands], color=colour, alpha=0.13, linewidth=0)
        y = [r / len(found) for r, (_, found) in zip(right, points, strict=True)]
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


def save(figure: Figure, path: Path) -> None:
    """Write the file and tell where it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)
    print(path)
