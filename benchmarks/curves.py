"""Accuracy curves out of the rows of accuracy runs: settings that differ in the swept option alone, by mean tokens
or mean cost.

Rule: two curves are compared on the problems that every setting of both has finished, and on no others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.figures import Figures, Summary
from benchmarks.prices import TOKENS, Prices
from benchmarks.rows import BUDGET, Row, Setting, by_setting, read
from benchmarks.statistics import Interval, Outcomes

VARIED = ("model", "task", "level", "split", "temperature", "seed", "problem_seed", "options", BUDGET, "axis")


@dataclass(frozen=True, slots=True)
class Point:
    """One setting with its figures, the rows of its finished problems where the file has them, and what is paid."""

    figures: Figures
    rows: Mapping[str, Row]
    prices: Prices = TOKENS

    @property
    def setting(self) -> Setting:
        """How it came about."""
        return self.figures.setting

    @property
    def n(self) -> int:
        """Problems."""
        return self.figures.n

    @property
    def accuracy(self) -> float:
        """Share of right answers, 0..1."""
        return self.figures.accuracy

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval of the accuracy."""
        return self.figures.interval

    @property
    def spent(self) -> float:
        """Mean of what a problem cost: of all tokens generated for it, where nothing else is asked."""
        own = self.figures
        return self.prices.of(own.prompt_tokens, own.cached_tokens, own.tokens)

    @property
    def recorded(self) -> bool:
        """Whether all its runs can be cut back."""
        return bool(self.rows) and all(row.steps is not None for row in self.rows.values())

    def cost(self, problem: str) -> float:
        """What one problem cost."""
        row = self.rows[problem]
        return self.prices.of(row.prompt_tokens, row.cached_tokens, row.completion_tokens)


@dataclass(frozen=True, slots=True)
class Curve:
    """Settings in the order of what they spent; `fixed` is what they have in common."""

    label: str
    decoder: str
    axis: str
    fixed: Setting
    points: tuple[Point, ...]

    @property
    def prices(self) -> Prices:
        """What is paid for."""
        return self.points[0].prices


def load(files: Sequence[Path], labels: Sequence[str] = (), prices: Prices = TOKENS) -> list[Curve]:
    """The curves of all files, of rows (.jsonl) or of figures (.json); labels name the files, one each.

    `ValueError` for the wrong number of labels.
    """
    if labels and len(labels) != len(files):
        raise ValueError(f"{len(files)} files need {len(files)} labels, got {len(labels)}")
    found: list[Curve] = []
    for file, label in zip(files, labels or [""] * len(files), strict=True):
        own = _curves(_points(file, prices))
        found += [replace(c, label=(label if len(own) == 1 else f"{label} {c.decoder}") or c.decoder) for c in own]
    if not found:
        raise ValueError("no finished rows")
    return _told_apart([replace(curve, label=curve.label.strip()) for curve in found])


def _points(file: Path, prices: Prices) -> list[Point]:
    if file.suffix == ".json":
        return [Point(figures, {}, prices) for figures in Summary.load(file).figures]
    groups = by_setting(row for row in read(file) if row.error is None).values()
    return [Point(Figures.of(group), {row.problem: row for row in group}, prices) for group in groups]


def _curves(points: Iterable[Point]) -> list[Curve]:
    """By decoder and setting: the order of a file is that in which answers came, and no picture may depend on it."""
    groups: dict[str, list[Point]] = defaultdict(list)
    fixed: dict[str, Setting] = {}
    for point in points:
        common = _without_axis(point.setting)
        name = common.key + point.setting.axis
        fixed[name] = common
        groups[name].append(point)
    return [
        Curve("", fixed[name].decoder, fixed[name].axis, fixed[name], tuple(sorted(points, key=lambda p: p.spent)))
        for name, points in sorted(groups.items(), key=lambda group: (fixed[group[0]].decoder, group[0]))
    ]


def _without_axis(setting: Setting) -> Setting:
    options = {name: value for name, value in setting.options.items() if name != setting.axis}
    budget = None if setting.axis == BUDGET else setting.max_completion_tokens
    return setting.model_copy(update={"options": options, BUDGET: budget})


def _told_apart(curves: Sequence[Curve]) -> list[Curve]:
    """Curves of the same label get the fields in which they differ appended."""
    same: dict[str, list[Curve]] = defaultdict(list)
    for curve in curves:
        same[curve.label].append(curve)
    return [replace(curve, label=_label(curve, same[curve.label])) for curve in curves]


def _label(curve: Curve, others: Sequence[Curve]) -> str:
    words = [curve.label]
    for name in VARIED:
        if len({str(getattr(other.fixed, name)) for other in others}) < 2:
            continue
        value = getattr(curve.fixed, name)
        words += [f"{k}={v}" for k, v in value.items()] if isinstance(value, dict) else [f"{name}={value}"]
    return " ".join(words)


def paired(a: Curve, b: Curve) -> tuple[list[str], Outcomes, Outcomes]:
    """The common problems and both curves' outcomes on them. `ValueError` where there are none."""
    common = set.intersection(*(set(point.rows) for point in (*a.points, *b.points)))
    if not common:
        raise ValueError(f"{a.label} and {b.label} have no problem in common that every setting finished")
    problems = sorted(common)
    return problems, outcomes(a, problems), outcomes(b, problems)


def outcomes(curve: Curve, problems: Sequence[str]) -> Outcomes:
    """What every setting of a curve came to on these problems."""
    return Outcomes(
        np.array([[float(point.rows[problem].correct) for problem in problems] for point in curve.points]),
        np.array([[point.cost(problem) for problem in problems] for point in curve.points]),
    )
