from __future__ import annotations

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.statistics import (
    Outcomes,
    interpolate,
    majority_at,
    margin,
    pass_at,
    percentile,
    ratio_at,
    sign_test,
    wilson,
)


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    # Newcombe 1998, table I: the score interval without continuity correction
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_published_intervals(correct: int, n: int, low: float, high: float) -> None:
    interval = wilson(correct, n)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(0, 500), st.integers(1, 500))
def test_wilson_holds_the_share_and_stays_in_range(correct: int, n: int) -> None:
    correct = min(correct, n)
    interval = wilson(correct, n)
    assert 0 <= interval.low <= correct / n + 1e-12
    assert correct / n - 1e-12 <= interval.high <= 1


def test_wilson_of_nothing_knows_nothing() -> None:
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (0, 5, 0.0625), (9, 1, 22 / 1024), (8, 2, 112 / 1024), (1, 0, 1.0)],
)
def test_sign_test_is_exact(wins: int, losses: int, p: float) -> None:
    assert sign_test(wins, losses) == pytest.approx(p)
    assert sign_test(losses, wins) == sign_test(wins, losses)


def test_sign_test_of_many_problems_does_not_overflow() -> None:
    assert 0 < sign_test(3000, 2000) < 1e-40


def test_interpolation_is_a_line_in_log_tokens() -> None:
    assert interpolate([100, 400], [0.2, 0.6], 200) == pytest.approx(0.4)
    assert interpolate([400, 100], [0.6, 0.2], 100) == pytest.approx(0.2)
    assert interpolate([100, 400], [0.2, 0.6], 400) == pytest.approx(0.6)
    assert interpolate([100], [0.2], 100) == 0.2


def test_nothing_is_extrapolated() -> None:
    assert interpolate([100, 400], [0.2, 0.6], 99) is None
    assert interpolate([100, 400], [0.2, 0.6], 401) is None
    assert interpolate([], [], 10) is None


def _outcomes(shares: list[float], tokens: list[float], n: int = 400) -> Outcomes:
    correct = np.array([[float(i < share * n) for i in range(n)] for share in shares])
    return Outcomes(correct, np.array([[t] * n for t in tokens], dtype=float))


def test_ratio_at_equal_tokens() -> None:
    a, b = _outcomes([0.2, 0.8], [100, 400]), _outcomes([0.1, 0.4], [100, 400])
    estimate = ratio_at(a, b, 200)
    assert estimate is not None
    assert estimate.value == pytest.approx(2.0)
    assert estimate.interval.low < 2 < estimate.interval.high
    assert estimate == ratio_at(a, b, 200)
    assert ratio_at(a, b, 401) is None


def test_a_curve_against_itself_has_no_uncertainty() -> None:
    a = _outcomes([0.2, 0.8], [100, 400])
    estimate = ratio_at(a, a, 150)
    assert estimate is not None
    assert (estimate.value, estimate.interval.low, estimate.interval.high) == (1, 1, 1)


def test_the_interval_of_a_ratio_agrees_with_the_delta_method() -> None:
    # one setting each, solved by disjoint draws: var(log ratio) ≈ Σ (1-p)/(np) + 2/n for exclusive outcomes
    n = 2000
    a = Outcomes(np.array([[float(i < 800) for i in range(n)]]), np.full((1, n), 100.0))
    b = Outcomes(np.array([[float(i >= 1600) for i in range(n)]]), np.full((1, n), 100.0))
    estimate = ratio_at(a, b, 100)
    assert estimate is not None
    half = 1.96 * math.sqrt(0.6 / (n * 0.4) + 0.8 / (n * 0.2) + 2 / n)
    measured = math.log(estimate.interval.high / estimate.interval.low) / 2
    assert measured == pytest.approx(half, rel=0.1)


def test_a_ratio_to_nothing_is_infinite() -> None:
    estimate = ratio_at(_outcomes([0.5], [100]), _outcomes([0.0], [100]), 100)
    assert estimate is not None
    assert estimate.value == estimate.interval.low == math.inf


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0.01, 1))
def test_percentile_is_the_nearest_rank(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert sum(v <= found for v in values) >= share * len(values)
    assert sum(v < found for v in values) < share * len(values)


def test_percentile_of_known_values() -> None:
    assert percentile([15, 20, 35, 40, 50], 0.4) == 20
    assert percentile(list(range(1, 101)), 0.99) == 99
    assert math.isnan(percentile([], 0.5))


@given(st.lists(st.booleans(), min_size=1, max_size=9), st.data())
def test_pass_at_k_is_the_share_of_choices_that_hold_a_right_sample(right: list[bool], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(right)))
    choices = list(combinations(right, k))
    assert pass_at(k, sum(right), len(right)) == pytest.approx(sum(map(any, choices)) / len(choices))


def test_pass_at_k_is_exact_where_floats_would_overflow_or_cancel() -> None:
    assert pass_at(1, 1, 10**6) == 1e-6
    assert pass_at(2, 1, 10**17) == 2e-17  # 1 - (1 - 2e-17) is 0 in floats
    assert pass_at(5000, 1, 10000) == 0.5
    assert pass_at(8, 9, 16) == 1.0


@given(st.lists(st.sampled_from("abcd-"), min_size=1, max_size=8), st.sets(st.sampled_from("abcd")), st.data())
def test_majority_at_k_is_the_mean_over_all_votes(samples: list[str], right: set[str], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(samples)))
    chances = []
    for choice in combinations(samples, k):
        votes = Counter(answer for answer in choice if answer != "-")
        elected = [answer for answer, count in votes.items() if count == max(votes.values())]
        chances.append(sum(answer in right for answer in elected) / max(1, len(elected)))
    votes = Counter(answer for answer in samples if answer != "-")
    assert majority_at(k, votes, right, silent=samples.count("-")) == pytest.approx(sum(chances) / len(chances))


def test_majority_at_k_of_many_samples_is_quick_to_count() -> None:
    votes = {"a": 20, "b": 19, "c": 13, **{str(i): 1 for i in range(12)}}
    assert 0.5 < majority_at(64, votes, {"a"}) <= 1
    assert majority_at(1, votes, {"a"}) == pytest.approx(20 / 64)


@pytest.mark.parametrize(("k", "right", "n"), [(0, 1, 2), (3, 1, 2), (1, 3, 2), (1, -1, 2)])
def test_more_samples_than_there_are_is_refused(k: int, right: int, n: int) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        pass_at(k, right, n)


@pytest.mark.parametrize("k", [0, 3])
def test_a_vote_among_more_samples_than_there_are_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        majority_at(k, {"a": 1}, {"a"}, silent=1)


def test_the_margin_of_a_mean() -> None:
    assert margin([0.0, 1.0, 0.0, 1.0]) == pytest.approx(1.959964 * math.sqrt(1 / 3) / 2)
    assert margin([1.0, 1.0]) == 0.0
    assert margin([1.0]) is None
