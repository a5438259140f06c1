"""A plan in words, as Markdown. Rule: whatever is derived by us says so."""

from __future__ import annotations

from itertools import pairwise
from math import isinf, sqrt

from benchmarks.report import table
from training.privacy.plan import ADVICE, Answer, Plan, Refusal, Target

DERIVED = (
    "All figures are derived for Gaussian data (see `training/privacy/families.py`); they are not the constants of "
    "arXiv 2507.17895."
)


def markdown(plan: Plan) -> str:
    """The whole plan."""
    s, shift = plan.setting, plan.shift
    head = (
        f"{s.family.name}, d = {s.family.d}: {s.public:,} public and {s.private:,.0f} private data, "
        f"{s.budget.rho:.4g}-zCDP (mu = {s.budget.mu:.4g}), shift {shift.low:.4g} to {shift.high:.4g} ({shift.source})"
    )
    body = _answer(plan, plan.found) if isinstance(plan.found, Answer) else refusal(plan, plan.found)
    target = [_target(plan.target)] if plan.target else []
    return "\n\n".join([head, body, *target, DERIVED])


def _answer(plan: Plan, found: Answer) -> str:
    share = f", {found.weight:.1%} of it public" if found.regime == "mixed" else ""
    rows = [
        ["risk (mean squared error)", f"{found.risk:.4g} [{found.risk_low:.4g}, {found.risk_high:.4g}]"],
        ["root of it", f"{sqrt(found.risk):.4g}"],
        ["risk without public data", _number(found.alone)],
        ["private data for the same risk without public data", count(found.alone_needed)],
        ["private data saved", count(found.saved)],
        ["floor for any zCDP method of this rho", f"{found.floor:.4g}"],
    ]
    regime = f"**Regime: {found.regime}.** Take the {ADVICE[found.regime]}{share}."
    return f"{regime}\n\n{table(['', 'value'], rows)}"


def refusal(plan: Plan, found: Refusal) -> str:
    """Why there is no answer, and what would bring one."""
    shift, edges = plan.shift, [plan.shift.low, *found.changes, plan.shift.high]
    lines = [
        f"- {regime} for shifts from {a:.4g} to {b:.4g}"
        for regime, (a, b) in zip(found.regimes, pairwise(edges), strict=True)
    ]
    changes = " and ".join(f"{change:.4g}" for change in found.changes)
    advice = [
        f"**No answer: the shift's interval {shift.low:.4g} to {shift.high:.4g} reaches into more than one regime.**",
        "\n".join(lines),
        f"An interval that does not contain {changes} would be answered. Declare one that you can defend (`--shift`)",
    ]
    if found.width is None:
        advice[-1] += "."
    elif found.width < shift.high - shift.low:
        advice[-1] += (
            f", or have it estimated (`--estimate`): from these data, with half of the budget, it would be about "
            f"{found.width:.3g} wide instead of {shift.high - shift.low:.3g}."
        )
    else:
        advice[-1] += f"; estimating it from these data would not help: the interval would be {found.width:.3g} wide."
    return "\n\n".join(advice)


def _target(target: Target) -> str:
    rows = [
        ["private data, with the public ones", count(target.private)],
        ["private data alone", count(target.private_alone)],
        ["public data alone", count(target.public_alone)],
    ]
    title = f"A root mean squared error of {target.error:g} at the interval's upper end; {target.regime}."
    return f"{title}\n\n{table(['', 'needed'], rows)}"


def count(n: float) -> str:
    """A number of data."""
    return "no number suffices" if isinf(n) else f"{n:,.0f}"


def _number(x: float) -> str:
    return "unbounded" if isinf(x) else f"{x:.4g}"
