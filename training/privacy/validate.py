"""Every formula of the planner beside a simulation of the estimator that it is about.

The estimators are run as they are, with clipping and noise, on data that are drawn anew each time; what is compared is
the mean squared error. Rule: nothing is fitted, and a line is right where measured / formula is 1 within 5 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import expm1, inf, sqrt

import numpy as np
from numpy.random import Generator

from training.privacy.budget import Budget
from training.privacy.families import FAMILIES, Array, Family
from training.privacy.risk import CEILING, Setting, private_needed, weight
from training.privacy.shift import estimate

TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class Line:
    """A formula's value and what was measured; `bound` says that the one may not exceed the other, instead of equal."""

    name: str
    formula: float
    measured: float
    error: float
    """Standard error of what was measured."""
    bound: bool = False

    @property
    def right(self) -> bool:
        """Whether they agree."""
        ratio = self.measured / self.formula
        return ratio >= 1 - TOLERANCE if self.bound else abs(ratio - 1) <= TOLERANCE

    @property
    def verdict(self) -> str:
        """Their ratio, and whether it is as it should be."""
        rule = " (at least 1)" if self.bound else ""
        return f"{self.measured / self.formula:.3f}{rule}{'' if self.right else ' WRONG'}"


@dataclass(frozen=True)
class Trial:
    """A setting with a shift, simulated `repeats` times."""

    family: Family
    m: int
    n: int
    budget: Budget
    shift: float
    repeats: int

    def errors(self, rng: Generator) -> tuple[Array, Array]:
        """Errors of the public and of the private estimate, a row for each repeat; θ is 0, s has any direction."""
        zero, distance = np.zeros(self.family.d), self.family.distance(self.m, self.shift)
        found = []
        for _ in range(self.repeats):
            s = rng.standard_normal(self.family.d)
            s *= self.shift / np.linalg.norm(s)
            public = self.family.fit_public(self.family.draw(rng, self.m, s))
            data = self.family.draw(rng, self.n, zero)
            found.append((public, self.family.fit_private(data, public, distance, self.budget, rng)))
        return np.array([p for p, _ in found]), np.array([p for _, p in found])


def lines(repeats: int = 1000, seed: int = 1) -> Iterator[Line]:
    """All comparisons."""
    rng = np.random.default_rng(seed)
    for kind, m, n, mu in (("mean", 60, 250, 1.5), ("regression", 80, 300, 12.0)):
        family = FAMILIES[kind](24)
        for shift in (0.1, 0.6):
            yield from _estimates(Trial(family, m, n, Budget(mu), shift, repeats), rng)
        yield _alone(family, n, Budget(mu), 0.5, repeats, rng)
        yield from _needed(family, m, Budget(mu), repeats, rng)
        yield from _floors(family, repeats, rng)
    yield from _attack(Budget(1.0), repeats, rng)
    yield _delta(Budget(0.8), 0.5, rng)
    yield _coverage(repeats, rng)


def _estimates(trial: Trial, rng: Generator) -> Iterator[Line]:
    """Public, private and mixed risk, and the most that mixing gains."""
    setting = Setting(trial.family, trial.m, trial.n, trial.budget, inf)
    public, private = trial.errors(rng)
    a, b = setting.private_risk(trial.shift), setting.public_risk(trial.shift)
    share = weight(a, b)
    about = f"{trial.family.name}, shift {trial.shift:g}"
    yield _line(f"{about}: public risk", b, public)
    yield _line(f"{about}: private risk", a, private)
    both = _line(f"{about}: mixed risk", setting.mixed_risk(trial.shift), share * public + (1 - share) * private)
    yield both
    best = min(_risk(public), _risk(private))
    yield Line(f"{about}: gain of mixing within the ceiling", best / CEILING, both.measured, both.error, bound=True)


def _alone(family: Family, n: int, budget: Budget, reach: float, repeats: int, rng: Generator) -> Line:
    """Without public data: from the origin, θ at the largest distance."""
    setting = Setting(family, 0, n, budget, reach)
    theta = np.full(family.d, reach / sqrt(family.d))
    zero = np.zeros(family.d)
    found = [family.fit_private(family.draw(rng, n, theta), zero, reach, budget, rng) for _ in range(repeats)]
    return _line(f"{family.name}: private risk without public data", setting.alone(), np.array(found) - theta)


def _needed(family: Family, m: int, budget: Budget, repeats: int, rng: Generator) -> Iterator[Line]:
    """With as many private data as are said to be needed, the mixture's risk is the one that was asked for."""
    for shift in (0.1, 0.6):
        public = family.public_risk(m, shift)
        risk = 0.7 * min(public, family.private_risk(400, family.distance(m, shift), budget))
        n = private_needed(Setting(family, m, 0, budget, inf), risk, shift)
        found, private = Trial(family, m, int(n), budget, shift, repeats).errors(rng)
        share = weight(family.private_risk(n, family.distance(m, shift), budget), public)
        yield _line(
            f"{family.name}, shift {shift:g}: risk with the {n:,.0f} private data needed",
            risk,
            share * found + (1 - share) * private,
        )


def _floors(family: Family, repeats: int, rng: Generator) -> Iterator[Line]:
    """No estimator is below the floor; without privacy and with a normal shift the mixture of means is at it."""
    m, n, shift = 100, 200, 0.5
    for mu in (0.5, inf):
        setting = Setting(family, m, n, Budget(mu), inf)
        share = weight(setting.private_risk(shift), setting.public_risk(shift))
        public, private = Trial(family, m, n, Budget(mu), shift, repeats).errors(rng)
        exact = mu == inf and family.name == "mean"
        name = f"{family.name}, mu {mu:g}: {'risk of the mixture is the floor' if exact else 'risk above the floor'}"
        mixture = share * public + (1 - share) * private
        yield _line(name, setting.floor(shift), mixture, bound=not exact)


def _attack(budget: Budget, repeats: int, rng: Generator) -> Iterator[Line]:
    """The two sides of the floor's proof: Σ<M - θ, x_i> is d for the private mean, and no more than privacy allows."""
    family, n, zero = FAMILIES["mean"](24), 250, np.zeros(24)
    found, squares = [], []
    for _ in range(repeats):
        data = family.draw(rng, n, zero)
        released = family.fit_private(data, zero, 0.0, budget, rng)
        found.append(float(released @ data.sum(0)))
        squares.append(float(released @ released))
    error = float(np.std(found) / sqrt(repeats))
    yield Line("score attack on the private mean", family.d, float(np.mean(found)), error)
    allowed = n * sqrt(expm1(2 * budget.rho) * float(np.mean(squares)))
    yield Line("what privacy allows the attack", float(np.mean(found)), allowed, 0.0, bound=True)


def _delta(budget: Budget, epsilon: float, rng: Generator) -> Line:
    """δ = E(1 - exp(ε - loss))₊ over the privacy loss N(μ²/2, μ²), in antithetic pairs."""
    half = rng.standard_normal(200_000)
    loss = budget.mu**2 / 2 + budget.mu * np.concatenate([half, -half])
    found = np.maximum(1 - np.exp(epsilon - loss), 0)
    error = float(found.std() / sqrt(len(found)))
    return Line(f"delta of mu {budget.mu:g} at epsilon {epsilon:g}", budget.delta(epsilon), float(found.mean()), error)


def _coverage(repeats: int, rng: Generator) -> Line:
    """How often the estimated interval of 95 % holds the shift."""
    family, shift, bound = FAMILIES["mean"](16), 0.4, 1.0
    s = np.zeros(16)
    s[0] = shift
    held = []
    for _ in range(repeats):
        public, private = family.draw(rng, 300, s), family.draw(rng, 500, np.zeros(16))
        found = estimate(public, private, bound, Budget(1.0), rng)
        held.append(found.low <= shift <= found.high)
    share = float(np.mean(held))
    return Line("coverage of the shift's interval", 0.95, share, sqrt(share * (1 - share) / repeats))


def _risk(errors: Array) -> float:
    return float((errors**2).sum(1).mean())


def _line(name: str, formula: float, errors: Array, bound: bool = False) -> Line:
    squares = (errors**2).sum(1)
    return Line(name, formula, float(squares.mean()), float(squares.std() / sqrt(len(squares))), bound)
