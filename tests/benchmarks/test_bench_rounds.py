"""Figures of known samples, and what rounds come to."""

from __future__ import annotations

from math import isnan, nan

import pytest

from benchmarks.exchange import Failure, Sample
from benchmarks.loops import arrivals
from benchmarks.rounds import differences, figures, ratios, spread, values


def test_figures_of_known_samples() -> None:
    samples = [
        Sample(seconds=0.1 * i, late=0.001 * i, event=0.01, text=0.02, answer=[0.05, 0.06, 0.09], tokens=3)
        for i in range(1, 11)
    ]
    samples.append(Sample(seconds=9.0, late=0.5, failure=Failure("HTTP 500")))
    found = figures(samples, wall=2.0, client=0.5, server=0.11)
    expected = {"requests_per_second": 5, "tokens_per_second": 15, "latency_p50_ms": 500, "latency_p99_ms": 1000}
    expected |= {"first_event_p99_ms": 10, "first_token_p99_ms": 20, "first_answer_token_p99_ms": 50}
    expected |= {"inter_token_mean_ms": 20, "inter_token_p99_ms": 30, "error_rate": 1 / 11, "sent_late_p99_ms": 500}
    expected |= {"server_cpu_ms": 10, "client_busy": 0.25}
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_what_was_not_measured_is_not_a_number() -> None:
    found = figures([Sample(seconds=0.1)], wall=1.0, client=0.1, server=None)
    unknown = {name for name, value in found.items() if isnan(value)}
    assert unknown == {
        *("tokens_per_second", "server_cpu_ms", "sent_late_p99_ms", "inter_token_mean_ms", "inter_token_p99_ms"),
        *(f"first_{what}_{part}_ms" for what in ("event", "token", "answer_token") for part in ("p50", "p99")),
    }


def test_rounds_are_compared_with_the_same_round() -> None:
    ours, theirs = [{"x": 2.0}, {"x": nan}, {"x": 9.0}], [{"x": 1.0}, {"x": 1.0}, {"x": 3.0}]
    assert values(ours, "x") == [2, 9]
    assert ratios(ours, theirs, "x") == [2, 3]
    assert differences(ours, theirs, "x") == [1, 6]
    assert ratios(theirs, [{"x": 0.0}] * 3, "x") == []


def test_a_spread_is_the_median_and_the_range() -> None:
    assert spread([1.0, 1234.5, 3.0]) == "3 (1 to 1,234)"
    assert spread([2.0, 2.0]) == "2"
    assert spread([]) == "—"


def test_arrivals_are_a_poisson_process() -> None:
    due = arrivals(100.0, 4000, "0/0")
    assert due == arrivals(100.0, 4000, "0/0") != arrivals(100.0, 4000, "0/1")
    gaps = [b - a for a, b in zip([0.0, *due], due, strict=False)]
    assert min(gaps) > 0
    mean = sum(gaps) / len(gaps)
    # of an exponential distribution the standard deviation is the mean
    assert mean == pytest.approx(0.01, rel=0.05)
    assert (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5 == pytest.approx(mean, rel=0.1)
