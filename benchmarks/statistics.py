"""The statistics behind the tables: intervals, paired tests, and comparisons at equal tokens.

Rule: two settings are compared on the same problems, and what is resampled is the problems, never single answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil, comb, log, sqrt
from statistics import NormalDist, stdev

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """Both ends belong to it."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval."""

    value: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Outcomes:
    """One decoder's results: rows are settings, columns are problems.

    `correct` is 1 or 0, `spent` is what it cost: all tokens generated, or those at prices. Two that are compared have
    the same columns.
    """

    correct: Array
    spent: Array


def wilson(correct: float, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a share p = correct / n (Wilson 1927).

    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), z the normal quantile of (1 + confidence) / 2. It stays inside
    0..1 and is sound at 0 % and 100 %, where the textbook interval has no width. Without data it is 0..1.
    """
    if n == 0:
        return Interval(0.0, 1.0)
    z, p = NormalDist().inv_cdf((1 + confidence) / 2), correct / n
    middle = p + z * z / (2 * n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return Interval(max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale))


def sign_test(wins: int, losses: int) -> float:
    """Exact two-sided p-value of paired outcomes (the exact form of McNemar's test).

    Only problems that exactly one side solved count: with n = wins + losses of them, p = min(1, 2 P(X ≤ min(wins,
    losses))), X ~ Binomial(n, ½). Without any, p = 1.
    """
    n = wins + losses
    tail = sum(comb(n, k) for k in range(min(wins, losses) + 1))
    return float(min(1.0, 2 * tail / 2**n))


def pass_at(k: int, right: int, n: int) -> float:
    """The chance that `k` of a problem's `n` samples, `right` of them right, hold a right one: pass@k without bias.

    1 - C(n - c, k) / C(n, k) (Chen et al. 2021, section 2.1), in whole numbers and divided once, so that it is exact to
    the last bit where the subtraction from 1 would leave nothing. `ValueError` for more than there are.
    """
    if not 0 <= right <= n or not 1 <= k <= n:
        raise ValueError(f"{k} of {n} samples, {right} of them right, cannot be")
    return (comb(n, k) - comb(n - right, k)) / comb(n, k)


def majority_at(k: int, votes: Mapping[str, int], right: Collection[str], silent: int = 0) -> float:
    """The chance that a vote among `k` of a problem's samples elects a right answer: majority@k without bias.

    `votes` counts the samples of each answer, `silent` those without one, which are drawn but do not vote. Answers that
    tie share the chance. All C(n, k) choices of samples are counted, not drawn: for each right answer and each number
    of votes that may win, the other answers' votes are counted out one by one.
    """
    n = sum(votes.values()) + silent
    if not 1 <= k <= n:
        raise ValueError(f"{k} of {n} samples cannot be")
    won = Fraction(0)
    for answer in right:
        others = [count for other, count in votes.items() if other != answer]
        for most in range(1, min(k, votes.get(answer, 0)) + 1):
            ways: Counter[tuple[int, int]] = Counter({(k - most, 1): comb(votes[answer], most)})
            for count in others:
                ways = _one_more(ways, count, most)
            won += sum(Fraction(number * comb(silent, left), tied) for (left, tied), number in ways.items())
    return float(won / comb(n, k))


def _one_more(ways: Counter[tuple[int, int]], count: int, most: int) -> Counter[tuple[int, int]]:
    """The ways to have (votes left, answers tied at `most`), after an answer with `count` samples got up to `most`."""
    found: Counter[tuple[int, int]] = Counter()
    for (left, tied), number in ways.items():
        for got in range(min(count, most, left) + 1):
            found[left - got, tied + (got == most)] += number * comb(count, got)
    return found


def margin(values: Sequence[float], confidence: float = 0.95) -> float | None:
    """Half the width of the normal interval of a mean, z · s / √n; None of less than two values."""
    if len(values) < 2:
        return None
    return NormalDist().inv_cdf((1 + confidence) / 2) * stdev(values) / sqrt(len(values))


def interpolate(tokens: Sequence[float], values: Sequence[float], at: float) -> float | None:
    """The value at `at` tokens, on the straight line in log(tokens) between the two neighbouring settings.

    y = y₁ + (y₂ - y₁) · ln(at / x₁) / ln(x₂ / x₁). Logarithmic, because settings are spaced by doubling and scaling
    curves are nearly straight in log(tokens); and because it is never below the linear chord where a curve rises, it
    is the choice that favours the baseline that is read off. None outside the measured range: nothing is extrapolated.
    """
    points = sorted(zip(tokens, values, strict=True))
    if not points or not points[0][0] <= at <= points[-1][0]:
        return None
    for (x1, y1), (x2, y2) in pairwise(points):
        if x1 <= at <= x2 and x1 < x2:
            return y1 + (y2 - y1) * log(at / x1) / log(x2 / x1)
    return next(y for x, y in points if x == at)


def ratio_at(
    a: Outcomes, b: Outcomes, at: float, *, resamples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Estimate | None:
    """Accuracy of `a` over accuracy of `b`, both interpolated at `at` tokens; None where one was not measured there.

    The interval is the percentile bootstrap over problems: each replicate draws problems with replacement, the same
    ones for both sides, and computes mean tokens, accuracies, interpolation and ratio anew. A replicate whose range
    ends just short of `at` takes its nearest end. A ratio to zero is infinite; 0 / 0 counts as 1.
    """
    ours, theirs = (interpolate(list(o.spent.mean(1)), list(o.correct.mean(1)), at) for o in (a, b))
    if ours is None or theirs is None:
        return None
    problems = a.correct.shape[1]
    weights = np.random.default_rng(seed).multinomial(problems, [1 / problems] * problems, resamples) / problems
    ratios = np.sort(_divide(_replicates(a, weights, at), _replicates(b, weights, at)))
    # order statistics, not interpolated ones: between a finite and an infinite ratio there is nothing
    cut = int((1 - confidence) / 2 * resamples)
    interval = Interval(float(ratios[cut]), float(ratios[resamples - 1 - cut]))
    return Estimate(float(_divide(np.array([ours]), np.array([theirs]))[0]), interval)


def _replicates(outcomes: Outcomes, weights: Array, at: float) -> Array:
    """The interpolated accuracy of every replicate, shape (replicates,)."""
    spent, correct = weights @ outcomes.spent.T, weights @ outcomes.correct.T
    order = np.argsort(spent, axis=1)
    x = np.log(np.maximum(np.take_along_axis(spent, order, 1), 1e-9))
    y = np.take_along_axis(correct, order, 1)
    return np.array([np.interp(log(at), xs, ys) for xs, ys in zip(x, y, strict=True)])


def _divide(a: Array, b: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = a / b
    return np.where((a == 0) & (b == 0), 1.0, ratio)


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank: the smallest value that at least `share` of all values do not exceed; NaN of none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, ceil(share * len(ordered)) - 1))]


def over_seeds(outcomes: Array, draws: int = 2000) -> tuple[float, float]:
    """95 % interval of the mean of [seeds, problems] outcomes, by a bootstrap that draws both again.

    With three seeds it is rather too narrow than too wide: a bootstrap of three values cannot know better.
    """
    rng = np.random.default_rng(0)
    seeds, problems = outcomes.shape
    means = [
        outcomes[rng.integers(seeds, size=seeds)][:, rng.integers(problems, size=problems)].mean() for _ in range(draws)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
