"""A privacy budget and what Gaussian noise spends of it. Rule: accounting is exact, and in one number, μ.

A release x + N(0, σ² I) of something that one person's data can move by Δ at most is μ-Gaussian-DP with μ = Δ/σ (Dong,
Roth and Su 2019, arXiv 1905.02383). Releases compose by √(Σ μ²), also when a later one depends on an earlier one. The
two customary forms are read from it: ρ-zCDP with ρ = μ²/2 (Bun and Steinke 2016), and (ε, δ)-DP by the exact curve of
Balle and Wang 2018, theorem 8. Neighbours differ in one person's data, replaced by other data; how many people there
are is public.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erfc, exp, inf, sqrt

_LARGEST = 700.0
"""exp() of more does not fit into a float."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent, as μ of Gaussian DP; infinite for no privacy."""

    mu: float

    def __post_init__(self) -> None:
        if not self.mu > 0:
            raise ValueError(f"a privacy budget is positive, not {self.mu}")

    @classmethod
    def concentrated(cls, rho: float) -> Budget:
        """ρ-zCDP spent on Gaussian noise."""
        if not rho > 0:
            raise ValueError(f"rho is positive, not {rho}")
        return cls(sqrt(2 * rho))

    @classmethod
    def approximate(cls, epsilon: float, delta: float) -> Budget:
        """(ε, δ)-DP spent on Gaussian noise: the largest μ whose curve stays below δ at ε."""
        if not 0 < epsilon <= _LARGEST or not 0 < delta < 1:
            raise ValueError(
                f"epsilon is between 0 and {_LARGEST:.0f} and delta between 0 and 1, not {epsilon}, {delta}"
            )
        low, high = 0.0, 1.0
        while cls(high).delta(epsilon) < delta:
            low, high = high, 2 * high
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (low, middle) if cls(middle).delta(epsilon) > delta else (middle, high)
        return cls(low)

    @property
    def rho(self) -> float:
        """ρ of zCDP."""
        return self.mu**2 / 2

    def delta(self, epsilon: float) -> float:
        """δ(ε) = Φ(μ/2 - ε/μ) - exp(ε) Φ(-μ/2 - ε/μ), Φ the normal distribution function."""
        if self.mu == inf:
            return 1.0
        return _normal(self.mu / 2 - epsilon / self.mu) - exp(epsilon) * _normal(-self.mu / 2 - epsilon / self.mu)

    def epsilon(self, delta: float) -> float:
        """The smallest ε at this δ."""
        low, high = 0.0, _LARGEST
        if self.delta(high) > delta:
            return inf
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if self.delta(middle) > delta else (low, middle)
        return high

    def part(self, share: float) -> Budget:
        """A share of ρ, 0 < share ≤ 1: the parts of all shares compose to the whole."""
        return Budget(self.mu * sqrt(share))

    def noise(self, sensitivity: float) -> float:
        """The standard deviation, per coordinate, that one release of this sensitivity needs."""
        return sensitivity / self.mu


def _normal(x: float) -> float:
    return erfc(-x / sqrt(2)) / 2
