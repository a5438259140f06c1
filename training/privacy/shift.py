"""An interval for the shift between public and private means, from the data, privately.

The difference of the two estimates is -s + N(0, ω² I) with ω² = 1/n + noise² + 1/m, so that |difference|²/ω² follows
the noncentral χ² distribution with d degrees of freedom and noncentrality |s|²/ω². The interval inverts that (derived,
exact but for clipping). Rule: what is read off the private data is one noisy estimate, for a share of the budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lgamma, log, sqrt

import numpy as np
from numpy.random import Generator

from training.privacy.budget import Budget
from training.privacy.families import Array, Mean


@dataclass(frozen=True, slots=True)
class Shift:
    """What is known of |s|: both ends belong to it."""

    low: float
    high: float
    source: str = "declared"

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high < float("inf"):
            raise ValueError(f"a shift's interval is 0 ≤ low ≤ high, not {self.low:g} to {self.high:g}")


def estimate(
    public: Array, private: Array, bound: float, budget: Budget, rng: Generator, confidence: float = 0.95
) -> Shift:
    """An interval that holds |s| with this confidence, for |s| ≤ `bound`, which says how wide to clip."""
    m, (n, d) = len(public), private.shape
    family = Mean(d)
    centre, distance = family.fit_public(public), family.distance(m, bound)
    found = family.fit_private(private, centre, distance, budget, rng)
    variance = spread(family, m, n, bound, budget)
    square = float(((found - centre) ** 2).sum()) / variance
    tail = (1 - confidence) / 2
    low, high = (sqrt(variance * _noncentrality(square, d, level)) for level in (1 - tail, tail))
    return Shift(min(low, bound), min(high, bound), f"estimated with {confidence:.0%} confidence")


def spread(family: Mean, m: int, n: float, bound: float, budget: Budget) -> float:
    """ω², the variance of a coordinate of the difference."""
    return 1 / n + family.noise(n, family.distance(m, bound), budget) ** 2 + 1 / m


def expected_width(family: Mean, m: int, n: float, shift: float, bound: float, budget: Budget) -> float:
    """How wide an interval of 95 % would be, about, for a shift of this size (derived).

    |difference|² has the variance 2 d ω⁴ + 4 ω² |s|², and the root of it that divided by 2|s|, or less near 0.
    """
    variance = spread(family, m, n, bound, budget)
    deviation = sqrt(2 * family.d * variance**2 + 4 * variance * shift**2)
    return sqrt(shift**2 + 1.96 * deviation) - sqrt(max(shift**2 - 1.96 * deviation, 0.0))


def _noncentrality(square: float, d: int, level: float) -> float:
    """The noncentrality under which a square up to this one has the probability `level`; 0 where it is always less."""
    central = _central(square, d)
    if central[0] <= level:
        return 0.0
    low, high = 0.0, 4.0 * (square + d) + 200.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _noncentral(central, middle) > level else (low, middle)
    return (low + high) / 2


def _central(square: float, d: int) -> Array:
    """P(χ²_{d + 2k} ≤ square) for k = 0, 1, …: each is the next one and (x/2)^a e^(-x/2) / Γ(a + 1), a = d/2 + k."""
    half = square / 2
    places = d / 2 + np.arange(int(half + 12 * sqrt(half) + d) + 60)
    logs = lgamma(d / 2 + 1) + np.concatenate([[0.0], np.cumsum(np.log(places[1:]))])
    terms = np.exp(places * log(max(half, 1e-300)) - half - logs)
    return np.asarray(np.cumsum(terms[::-1])[::-1])


def _noncentral(central: Array, noncentrality: float) -> float:
    """The mean of those over k ~ Poisson(noncentrality / 2)."""
    mean, k = noncentrality / 2, np.arange(len(central))
    if mean == 0:
        return float(central[0])
    logs = np.concatenate([[0.0], np.cumsum(np.log(k[1:]))])
    return float(np.exp(k * log(mean) - mean - logs) @ central)
