"""The two problems that the planner knows: estimators with their risks, for a parameter θ of `d` coordinates.

Public data follow θ + s for an unknown shift s with |s| ≤ `shift`, private data follow θ; risk is E|estimate - θ|², its
worst case over the direction of s. Private estimators start at a `centre` that is at most `distance` from θ, clip, take
the mean, and add Gaussian noise. Rule: every formula is the risk of the estimator beside it, and `validate` holds it
against simulation. All of them are derived by us; theorems and constants of arXiv 2507.17895 could not be read, and its
abstract (same two problems, same dichotomy) is all that these agree with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import inf, log, sqrt
from typing import ClassVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.privacy.budget import Budget

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Family(ABC):
    """A problem in `d` coordinates; noise in the data has variance 1, so that shifts are told in its units."""

    d: int
    name: ClassVar[str]

    @abstractmethod
    def public_error(self, m: int) -> float:
        """Risk of the public estimate about θ + s; infinite where there are too few data."""

    @abstractmethod
    def sampling_risk(self, n: float, distance: float) -> float:
        """Risk of the private estimate before noise is added."""

    @abstractmethod
    def clip(self, n: float, distance: float) -> float:
        """The norm at which a person's contribution is cut: so wide that what it cuts does not matter for the risk."""

    @abstractmethod
    def draw(self, rng: Generator, n: int, parameter: Array) -> Array:
        """`n` data with this parameter, one a row."""

    @abstractmethod
    def fit_public(self, data: Array) -> Array:
        """The public estimate."""

    @abstractmethod
    def contributions(self, data: Array, centre: Array) -> Array:
        """What each person adds to the mean, before clipping."""

    def public_risk(self, m: int, shift: float) -> float:
        """Derived. B = (error without shift) + shift²."""
        return self.public_error(m) + shift**2

    def distance(self, m: int, shift: float) -> float:
        """How far from θ the public estimate is, in the root of the mean square."""
        return sqrt(self.public_risk(m, shift))

    def noise(self, n: float, distance: float, budget: Budget) -> float:
        """Derived. A person who is replaced moves the mean of n clipped vectors by 2 clip / n at most."""
        return budget.noise(2 * self.clip(n, distance) / n)

    def private_risk(self, n: float, distance: float, budget: Budget) -> float:
        """Derived. A = (risk before noise) + d noise²; infinite below two people."""
        if n < 2:
            return inf
        return self.sampling_risk(n, distance) + self.d * self.noise(n, distance, budget) ** 2

    def fit_private(self, data: Array, centre: Array, distance: float, budget: Budget, rng: Generator) -> Array:
        """The private estimate: what differs from the centre, clipped, averaged, with noise."""
        moves = self.contributions(data, centre)
        limit = self.clip(len(data), distance)
        moves *= np.minimum(1.0, limit / np.maximum(np.linalg.norm(moves, axis=1, keepdims=True), 1e-300))
        noise = self.noise(len(data), distance, budget)
        return np.asarray(centre + moves.mean(0) + rng.normal(0.0, noise, self.d))


class Mean(Family):
    """Private X_i ~ N(θ, I), public Y_j ~ N(θ + s, I)."""

    name = "mean"

    def public_error(self, m: int) -> float:
        """Derived, exact. The mean of m: d/m."""
        return self.d / m if m else inf

    def sampling_risk(self, n: float, distance: float) -> float:
        """Derived, exact but for clipping: d/n."""
        return self.d / n

    def clip(self, n: float, distance: float) -> float:
        """√d + √(2 ln n) + distance: |X_i - θ| exceeds the first two with probability 1/n at most."""
        return sqrt(self.d) + sqrt(2 * log(n)) + distance

    def draw(self, rng: Generator, n: int, parameter: Array) -> Array:
        """Normal vectors."""
        return parameter + rng.standard_normal((n, self.d))

    def fit_public(self, data: Array) -> Array:
        """Their mean."""
        return np.asarray(data.mean(0))

    def contributions(self, data: Array, centre: Array) -> Array:
        """X_i - centre."""
        return data - centre


class Regression(Family):
    """y = x·θ + N(0, 1) with x ~ N(0, I); public data have θ + s. A row is x, then y."""

    name = "regression"

    def public_error(self, m: int) -> float:
        """Derived, exact. Least squares: d/(m - d - 1), the mean trace of an inverse Wishart matrix."""
        return self.d / (m - self.d - 1) if m > self.d + 1 else inf

    def sampling_risk(self, n: float, distance: float) -> float:
        """Derived, exact but for clipping: (d + (d + 1) |θ - centre|²)/n, for E|x|²(x·v)² = (d + 2)|v|²."""
        return (self.d + (self.d + 1) * distance**2) / n

    def clip(self, n: float, distance: float) -> float:
        """(√d + √(2 ln n)) √(2 ln n) √(1 + distance²): |x| times a residual of that variance."""
        tail = sqrt(2 * log(n))
        return (sqrt(self.d) + tail) * tail * sqrt(1 + distance**2)

    def draw(self, rng: Generator, n: int, parameter: Array) -> Array:
        """Normal x, and y."""
        x = rng.standard_normal((n, self.d))
        return np.column_stack([x, x @ parameter + rng.standard_normal(n)])

    def fit_public(self, data: Array) -> Array:
        """Least squares."""
        x, y = data[:, :-1], data[:, -1]
        return np.asarray(np.linalg.solve(x.T @ x, x.T @ y), np.float64)

    def contributions(self, data: Array, centre: Array) -> Array:
        """x_i (y_i - x_i·centre): one step of the method of moments, for x with unit covariance."""
        x, y = data[:, :-1], data[:, -1]
        return np.asarray(x * (y - x @ centre)[:, None])


FAMILIES: dict[str, type[Family]] = {family.name: family for family in (Mean, Regression)}
