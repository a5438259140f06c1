"""`longthink bench compare`: two curves at equal tokens or at equal cost, over the same problems.

Rule: both sides are read where they really spent the same; nothing is extrapolated. The sign test takes the two nearest
measured settings as they are, and the table shows what each of them spent.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path

import numpy as np

from benchmarks import cli, prices
from benchmarks.curves import Curve, load, paired
from benchmarks.report import percent, publish, table
from benchmarks.rows import DamagedFile
from benchmarks.statistics import Outcomes, interpolate, ratio_at, sign_test


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = cli.parser("compare", __doc__)
    made.add_argument("a", type=Path, metavar="A.jsonl", help="results of `longthink bench accuracy`")
    made.add_argument("b", type=Path, metavar="B.jsonl", help="results to compare with; may be the same file")
    made.add_argument("--a-decoder", help="only this decoder of A")
    made.add_argument("--b-decoder", help="only this decoder of B")
    made.add_argument("--label", action="append", default=[], help="a name for A, then one for B")
    made.add_argument(
        "--at-tokens", default="", metavar="T1,T2", help="there too, or at these costs (default: A's settings)"
    )
    prices.add_options(made)
    made.add_argument("--resamples", type=int, default=2000, help="of the bootstrap (default: 2000)")
    made.add_argument("--table", type=Path, help="Markdown file for the tables")
    return made


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two curves with their outcomes on the problems they share."""

    a: Curve
    b: Curve
    problems: list[str]
    ours: Outcomes
    theirs: Outcomes
    resamples: int

    def markdown(self, at_tokens: Sequence[float]) -> str:
        """A line for each setting of A, then one for each wanted number of tokens."""
        header = (
            f"at {self.a.prices.short}",
            self.a.label,
            f"{self.b.label}, interpolated",
            "ratio (95 %)",
            f"nearest measured pair ({self.a.prices.short})",
            "only A : only B",
            "sign test p",
        )
        means = [float(t) for t in self.ours.spent.mean(1)]
        lines = [self._line(t) for t in (*means, *at_tokens)]
        about = f"**{self.a.label}** (A) against **{self.b.label}** (B), {len(self.problems)} common problems"
        return f"{about}\n\n{table(header, lines)}"

    def _line(self, at: float) -> list[str]:
        values = [interpolate(list(o.spent.mean(1)), list(o.correct.mean(1)), at) for o in (self.ours, self.theirs)]
        ratio = ratio_at(self.ours, self.theirs, at, resamples=self.resamples)
        shown = (
            f"{ratio.value:.2f} ({ratio.interval.low:.2f} to {ratio.interval.high:.2f})"
            if ratio
            else "B not measured here"
            if values[1] is None
            else "A not measured here"
        )
        i, j = _nearest(self.ours, at), _nearest(self.theirs, at)
        right, other = self.ours.correct[i] > 0, self.theirs.correct[j] > 0
        wins, losses = int(np.sum(right & ~other)), int(np.sum(other & ~right))
        pair = (
            f"{self.a.points[i].setting.name} ({_amount(self.ours.spent[i].mean())}) : "
            f"{self.b.points[j].setting.name} ({_amount(self.theirs.spent[j].mean())})"
        )
        cells = ["—" if value is None else percent(value) for value in values]
        return [_amount(at), *cells, shown, pair, f"{wins} : {losses}", f"{sign_test(wins, losses):.2g}"]


def _amount(spent: float) -> str:
    return f"{spent:.0f}" if spent >= 100 or spent == round(spent) else f"{spent:.3g}"


def _nearest(outcomes: Outcomes, at: float) -> int:
    """The setting whose mean is nearest in the logarithm."""
    return int(np.argmin([abs(log(max(t, 1e-9) / at)) for t in outcomes.spent.mean(1)]))


def _named(curves: Sequence[Curve], decoder: str | None) -> list[Curve]:
    found = [curve for curve in curves if decoder in (None, curve.decoder)]
    if not found:
        raise ValueError(f"no decoder {decoder!r}: there are {', '.join({curve.decoder for curve in curves})}")
    return found


def main(argv: Sequence[str]) -> int:
    """Compare every chosen curve of A with every one of B."""
    options = parser().parse_args(argv)
    try:
        at = [float(text) for text in options.at_tokens.split(",") if text]
        names = (
            options.label or ["", ""] if options.a == options.b else options.label or [options.a.stem, options.b.stem]
        )
        if len(names) != 2:
            raise ValueError("two labels are needed, one for A and one for B")
        paid = prices.of(options)
        ours = _named(load([options.a], names[:1], paid), options.a_decoder)
        theirs = _named(load([options.b], names[1:], paid), options.b_decoder)
        parts = [
            Comparison(a, b, *paired(a, b), options.resamples).markdown(at) for a in ours for b in theirs if a != b
        ]
    except (ValueError, DamagedFile, OSError) as error:
        print(f"longthink bench compare: {error}", file=sys.stderr)
        return 2
    publish("\n\n".join(parts), options.table)
    return 0
