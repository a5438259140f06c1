"""The regimes as a picture: private data to the right, shift upwards, at given public data and budget.

Rule: a point's colour is what `Setting.regime` says there; nothing is smoothed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from training.privacy.families import Array
from training.privacy.risk import Regime, Setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# of Okabe and Ito's colours, which colour-blind people can tell apart
COLOURS: dict[Regime, str] = {"public": "#56B4E9", "mixed": "#E6E6E6", "private": "#E69F00"}
LABELS: dict[Regime, str] = {"public": "public only", "mixed": "mixed", "private": "private only"}
DPI = 200
POINTS = 160


def draw(setting: Setting, private: tuple[float, float], shift: tuple[float, float]) -> Figure:
    """The map over these ranges, both logarithmic, with lines of equal gain."""
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    across, up = np.geomspace(*private, POINTS), np.geomspace(*shift, POINTS)
    places = [[(replace(setting, private=float(n)), float(s)) for n in across] for s in up]
    regimes = np.array([[list(COLOURS).index(at.regime(s)) for at, s in row] for row in places], float)
    gains = np.array([[at.gain(s) for at, s in row] for row in places])
    figure = Figure(figsize=(7, 5), facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    shades = ListedColormap(list(COLOURS.values()))
    axes.pcolormesh(across, up, regimes, cmap=shades, vmin=-0.5, vmax=2.5, shading="nearest", rasterized=True)
    lines = axes.contour(across, up, gains, levels=[1.25, 1.5, 1.75, 1.95], colors="#333333", linewidths=0.8)
    axes.clabel(lines, fmt="%.2f×", fontsize=7.5)
    _frame(axes, setting)
    for index, regime in enumerate(COLOURS):
        _label(axes, across, up, regimes == index, LABELS[regime])
    return figure


def _label(axes: Axes, across: Array, up: Array, where: np.ndarray, text: str) -> None:
    """In the middle of a regime's area, where it has one."""
    rows, columns = np.nonzero(where)
    if len(rows) > POINTS:
        row = int(np.median(rows))
        column = int(np.median(columns[rows == row])) if (rows == row).any() else int(np.median(columns))
        axes.text(across[column], up[row], text, ha="center", va="center", fontsize=11, fontweight="bold")


def _frame(axes: Axes, setting: Setting) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("private data (logarithmic)")
    axes.set_ylabel("shift between public and private (logarithmic)")
    axes.set_title("Whose estimate to take", loc="left", fontsize=13, fontweight="bold", pad=22)
    about = (
        f"{setting.family.name}, d = {setting.family.d}, {setting.public:,} public data, "
        f"{setting.budget.rho:.3g}-zCDP; lines: gain of mixing over the better source, at most 2×; derived formulas"
    )
    axes.text(0, 1.02, about, transform=axes.transAxes, fontsize=8, color="#555555")
