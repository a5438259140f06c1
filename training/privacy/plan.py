"""The planner: from what is known of the data to a regime, an estimator and its risk, or a refusal.

Rule: there is no recommendation where the shift's interval reaches into more than one regime; what would narrow it down
is said instead.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from math import isinf
from typing import Any

from training.privacy.families import Mean
from training.privacy.risk import Regime, Setting, private_needed, public_needed, weight
from training.privacy.shift import Shift, expected_width

ADVICE: dict[Regime, str] = {
    "public": "public estimate only; leave the private data alone",
    "mixed": "weighted mean of the public and the private estimate",
    "private": "private estimate only; public data say at most where it starts",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A recommendation. Risks are mean squared errors, worst case over the direction of the shift."""

    regime: Regime
    weight: float
    """The public estimate's weight."""
    risk: float
    """In the middle of the shift's interval."""
    risk_low: float
    risk_high: float
    """At the interval's ends."""
    alone: float
    """Without public data."""
    alone_needed: float
    """Private data that would reach `risk_high` without public data."""
    saved: float
    """How many of those are not needed."""
    floor: float
    """What no ρ-zCDP method can beat at the interval's end, in the mean over shifts of that size."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Regimes that the interval reaches into, and where they change."""

    regimes: tuple[Regime, ...]
    changes: tuple[float, ...]
    width: float | None
    """How wide an interval would be that these data give for half of the budget; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a root mean squared error takes, at the interval's upper end."""

    error: float
    private: float
    private_alone: float
    public_alone: float

    @property
    def regime(self) -> str:
        """The abstract's dichotomy, for a target: is the shift small beside the error?"""
        if self.private == 0:
            return "public data suffice"
        if isinf(self.public_alone):
            return "the shift exceeds the error: no number of public data suffices"
        return "the shift is small: more public data would suffice by themselves"


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that was asked and found."""

    setting: Setting
    shift: Shift
    found: Answer | Refusal
    target: Target | None = None

    def wire(self) -> dict[str, Any]:
        """As JSON; what is infinite is null."""
        s = self.setting
        asked = {"problem": s.family.name, "dimension": s.family.d, "public": s.public, "private": s.private}
        spent = {"mu": s.budget.mu, "rho": s.budget.rho, "reach": s.reach, "worth": s.worth}
        found = {"answered": isinstance(self.found, Answer), **asdict(self.found)}
        target = self.target and {"regime": self.target.regime, **asdict(self.target)}
        told = {"asked": {**asked, **spent}, "shift": asdict(self.shift), **found, "target": target}
        return {key: _finite(value) for key, value in told.items()}


def plan(setting: Setting, shift: Shift, error: float | None = None) -> Plan:
    """The plan for a shift within this interval, and what a root mean squared error takes."""
    target = None if error is None else reach_for(setting, shift.high, error)
    changes = setting.changes(shift.low, shift.high)
    if changes:
        return Plan(setting, shift, _refuse(setting, shift, changes), target)
    return Plan(setting, shift, _answer(setting, shift), target)


def reach_for(setting: Setting, shift: float, error: float) -> Target:
    """Data needed for an error."""
    private = private_needed(setting, error**2, shift)
    alone = private_needed(setting, error**2, None)
    return Target(error, private, alone, public_needed(setting.family, error**2, shift))


def _answer(setting: Setting, shift: Shift) -> Answer:
    regime, risks = setting.regime(shift.high), {}
    share = {"public": 1.0, "private": 0.0}.get(regime, weight(*_risks(setting, shift.high)))
    for name, size in (("low", shift.low), ("middle", (shift.low + shift.high) / 2), ("high", shift.high)):
        risks[name] = _weighted(share, *_risks(setting, size))
    needed = private_needed(setting, risks["high"], None)
    used = 0 if regime == "public" else setting.private
    return Answer(
        regime=regime,
        weight=share,
        risk=risks["middle"],
        risk_low=risks["low"],
        risk_high=risks["high"],
        alone=setting.alone(),
        alone_needed=needed,
        saved=max(needed - used, 0.0),
        floor=setting.floor(shift.high),
    )


def _risks(setting: Setting, shift: float) -> tuple[float, float]:
    return setting.private_risk(shift), setting.public_risk(shift)


def _weighted(share: float, private: float, public: float) -> float:
    """Risk of a mixture with this weight, which only at the interval's upper end is the best one."""
    return (share**2 * public if share else 0.0) + ((1 - share) ** 2 * private if share < 1 else 0.0)


def _refuse(setting: Setting, shift: Shift, changes: list[float]) -> Refusal:
    edges = [shift.low, *changes, shift.high]
    regimes = tuple(setting.regime((a + b) / 2) for a, b in pairwise(edges))
    width = None
    if isinstance(setting.family, Mean) and setting.public and setting.private >= 2:
        half = setting.budget.part(0.5)
        width = expected_width(setting.family, setting.public, setting.private, changes[0], shift.high, half)
    return Refusal(regimes, tuple(changes), width)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and isinf(value) else value
