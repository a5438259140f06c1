"""The regimes as a picture: private data to the right, shift upwards, at given public data and budget.

Rule: a point's colour is what `Setting.regime` says there; nothing is smoothed.
"""

from __future__ import annotations

from dataclasses import replace
from math import log
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
GAINS = {-log(4): "1.25×", -log(2): "1.5×", 0.0: "2×", log(2): "1.5×", log(4): "1.25×"}
"""What mixing gains, by the logarithm of private risk / public risk."""


def draw(setting: Setting, private: tuple[float, float], shift: tuple[float, float]) -> Figure:
    """The map over these ranges, both logarithmic, with lines of equal gain."""
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    across, up = np.geomspace(*private, POINTS), np.geomspace(*shift, POINTS)
    places = [[(replace(setting, private=float(n)), float(s)) for n in across] for s in up]
    regimes = np.array([[list(COLOURS).index(at.regime(s)) for at, s in row] for row in places], float)
    ratios = np.array([[log(at.private_risk(s) / at.public_risk(s)) for at, s in row] for row in places])
    figure = Figure(figsize=(7, 5), facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    _frame(axes, setting)  # before the lines: their labels are placed by the axes' scale
    shades = ListedColormap(list(COLOURS.values()))
    axes.pcolormesh(across, up, regimes, cmap=shades, vmin=-0.5, vmax=2.5, shading="nearest", rasterized=True)
    lines = axes.contour(across, up, ratios, levels=list(GAINS), colors="#333333", linestyles="solid", linewidths=0.9)
    axes.clabel(lines, fmt=GAINS, fontsize=7.5, inline_spacing=1)
    for index, regime in enumerate(COLOURS):
        _label(axes, across, up, regimes == index, LABELS[regime])
    return figure


def _label(axes: Axes, across: Array, up: Array, where: np.ndarray, text: str) -> None:
    """In the middle of a regime's area, where it has one."""
    from matplotlib.patheffects import withStroke

    rows, columns = np.nonzero(where)
    if len(rows) > POINTS:
        row = int(np.median(rows))
        column = int(np.median(columns[rows == row])) if (rows == row).any() else int(np.median(columns))
        edge = [withStroke(linewidth=4, foreground="white", alpha=0.8)]
        place = across[column], up[row]
        axes.text(*place, text, ha="center", va="center", fontsize=11, fontweight="bold", path_effects=edge)


def _frame(axes: Axes, setting: Setting) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("private data (logarithmic)")
    axes.set_ylabel("shift between public and private (logarithmic)")
    axes.set_title("Whose estimate to take", loc="left", fontsize=13, fontweight="bold", pad=32)
    about = (
        f"{setting.family.name}, d = {setting.family.d}, {setting.public:,} public data, {setting.budget.rho:.3g}-zCDP "
        "(derived)\nlines: how many times smaller the risk of mixing is than the better source's"
    )
    axes.text(0, 1.02, about, transform=axes.transAxes, fontsize=8, color="#555555")
