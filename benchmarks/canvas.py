"""What all pictures share: colours, a logarithmic axis over a budget, how they are saved. Rule: shares go up to 1."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind people can tell apart, without the yellow that vanishes on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555")
LINES = ("-", "--", ":", "-.")
MARKERS = "os^Dv"
DPI = 200


def frame(axes: Axes, *, x: str, y: str, title: str, about: str) -> None:
    """Axes over a budget: shares from 0 to 1 upwards, a title, and below it what was measured."""
    from matplotlib.ticker import PercentFormatter

    axes.set_xscale("log")
    label_budget(axes.xaxis, (1.0, 2.0, 5.0))
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(True, color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", pad=22)
    axes.text(0, 1.02, about, transform=axes.transAxes, fontsize=9, color="#555555")


def label_budget(axis: Axis, subs: tuple[float, ...] = (1.0,)) -> None:
    """Whole numbers, or money where that is less than one, at powers of ten times `subs`."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(10, subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}" if x >= 1 else f"{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def save(figure: Figure, path: Path) -> None:
    """Write the file and tell where it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)
    print(path)
