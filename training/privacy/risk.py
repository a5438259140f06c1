"""What public and private data are worth together: mixtures, regimes, data needed, and a floor for any method.

A is the risk of the private estimate, B of the public one (`families`). Everything here is derived by us. What arXiv
2507.17895 states in its abstract is the shape of it: with a small shift one source must suffice by itself, with a large
one public data are worth nothing. Its theorems and constants are not used, because they could not be read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import exp, expm1, inf, isinf, log, sqrt
from typing import Literal

from training.privacy.budget import Budget
from training.privacy.families import Family

Regime = Literal["public", "mixed", "private"]

CEILING = 2.0
"""Derived. AB/(A + B) ≥ min(A, B)/2: no fixed mixture of the two estimates is better than the better one by more."""
MOST = 10**15
"""More data than anybody has: where even these are not enough, no number of them is said to be."""


def weight(private: float, public: float) -> float:
    """Derived. The public estimate's weight A/(A + B), which makes the mixture's risk smallest."""
    return 1.0 if isinf(private) else private / (private + public)


def mixed(private: float, public: float) -> float:
    """Derived. The best mixture's risk AB/(A + B): the errors of the two are uncorrelated."""
    if isinf(private) or isinf(public):
        return min(private, public)
    return private * public / (private + public)


@dataclass(frozen=True, slots=True)
class Setting:
    """What is there: `m` public and `n` private data, a budget, and what is known of θ without public data.

    `reach` bounds the distance of θ from the origin: an estimator that has private data only must know such a bound,
    and the others start at the public estimate where that is nearer. Mixing is called worth while where it makes the
    risk smaller by the share `worth`.
    """

    family: Family
    public: int
    private: float
    budget: Budget
    reach: float = 1.0
    worth: float = 0.1

    def public_risk(self, shift: float) -> float:
        """B."""
        return self.family.public_risk(self.public, shift)

    def distance(self, shift: float) -> float:
        """From θ to where the private estimator starts."""
        return min(self.reach, self.family.distance(self.public, shift))

    def private_risk(self, shift: float) -> float:
        """A, with public data for nothing but the start."""
        return self.family.private_risk(self.private, self.distance(shift), self.budget)

    def alone(self) -> float:
        """Risk where there are no public data at all."""
        return self.family.private_risk(self.private, self.reach, self.budget)

    def mixed_risk(self, shift: float) -> float:
        """AB/(A + B)."""
        return mixed(self.private_risk(shift), self.public_risk(shift))

    def gain(self, shift: float) -> float:
        """How many times larger the better single source's risk is than the best mixture's: 1 to `CEILING`."""
        a, b = self.private_risk(shift), self.public_risk(shift)
        return 1.0 if isinf(min(a, b)) else min(a, b) / mixed(a, b)

    def regime(self, shift: float) -> Regime:
        """Whose estimate to take: one source's, where mixing is not worth while."""
        if self.gain(shift) >= 1 / (1 - self.worth):
            return "mixed"
        return "public" if self.public_risk(shift) < self.private_risk(shift) else "private"

    def changes(self, low: float, high: float) -> list[float]:
        """The shifts from low to high at which the regime changes."""
        start = max(low, 1e-6)
        grid = [low] + [start * exp(log(max(high / start, 1.0)) * i / 400) for i in range(401)]
        found = []
        for left, right in pairwise(grid):
            before = self.regime(left)
            if self.regime(right) != before:
                found.append(self._change(before, left, right))
        return found

    def _change(self, before: Regime, low: float, high: float) -> float:
        """Where between low and high the regime is no longer this one."""
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if self.regime(middle) != before else (middle, high)
        return high

    def floor(self, shift: float) -> float:
        """Derived. No ρ-zCDP estimator has a smaller risk, in the mean over s ~ N(0, shift²/d I), for every θ.

        Write F = d/m + shift² and k = √(exp(2ρ) - 1). For an estimate M with risk R, and the score x_i of a private
        datum, E<M - θ, x_i> ≤ k √R: put another datum in its place, and the mean is 0, the variance R, and what M tells
        of the swap has a χ² divergence of k² at most. It is ≤ √(R d/n) on average without any privacy. Public data tell
        √(R/F) d in all. The sum over all data is the divergence of E M, whose mean under a flat prior is d, so that
        R ≥ (d / (min(n k, √(nd)) + d/√F))². (The score attack of Cai, Wang and Zhang 2021, with χ² for its tails.)
        Without privacy the Bayes risk of the Gaussian model, 1/(n/d + 1/F), is a floor as well.
        """
        d, n = self.family.d, self.private
        public = d / self.public + shift**2 if self.public else inf
        told = n * sqrt(expm1(min(2 * self.budget.rho, 700.0)))
        known = min(told, sqrt(n * d)) + (0.0 if isinf(public) else d / sqrt(public))
        return max((d / known) ** 2, 1 / (n / d + 1 / public)) if known else inf


def private_needed(setting: Setting, risk: float, shift: float | None) -> float:
    """The private data with which the best mixture reaches this risk, inf where none do; no public data without shift.

    Derived: 0 where B ≤ risk, else the n at which A ≤ 1/(1/risk - 1/B).
    """
    if shift is None:
        distance, allowed = setting.reach, risk
    else:
        public = setting.public_risk(shift)
        if public <= risk:
            return 0
        distance = setting.distance(shift)
        allowed = risk if isinf(public) else 1 / (1 / risk - 1 / public)
    return _fewest(lambda n: setting.family.private_risk(n, distance, setting.budget) <= allowed, 2)


def public_needed(family: Family, risk: float, shift: float) -> float:
    """The public data that reach this risk by themselves; inf where the shift alone is larger (derived)."""
    return _fewest(lambda m: family.public_risk(m, shift) <= risk, 1) if shift**2 < risk else inf


def _fewest(enough: Callable[[int], bool], least: int) -> float:
    """The smallest whole number that is enough, inf where none is."""
    high = least
    while not enough(high):
        high *= 2
        if high > MOST:
            return inf
    low = least if high == least else high // 2
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high
