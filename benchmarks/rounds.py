"""The figures of a round of load, and what rounds come to.

Rule: medians over rounds with their range, and ratios of figures from the same round: on a shared machine absolute
figures drift, ratios of neighbouring rounds hardly do. The range of five independent rounds holds the true median in 94
of 100 cases, whatever the distribution (1 - 2 / 2⁵).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isfinite, nan
from statistics import fmean, median

from benchmarks.exchange import Sample
from benchmarks.statistics import percentile

Round = dict[str, float]

FIGURES = {
    "requests_per_second": "requests/s",
    "tokens_per_second": "tokens/s",
    "latency_p50_ms": "latency p50, ms",
    "latency_p99_ms": "latency p99, ms",
    "first_event_p50_ms": "time to first event p50, ms",
    "first_event_p99_ms": "time to first event p99, ms",
    "first_token_p50_ms": "time to first token p50, ms",
    "first_token_p99_ms": "time to first token p99, ms",
    "first_answer_token_p50_ms": "time to first answer token p50, ms",
    "first_answer_token_p99_ms": "time to first answer token p99, ms",
    "inter_token_mean_ms": "inter-token latency mean, ms",
    "inter_token_p99_ms": "inter-token latency p99, ms",
    "server_cpu_ms": "server CPU, ms/request",
    "client_cpu_ms": "client CPU, ms/request",
    "client_busy": "client CPU, share of the time",
    "sent_late_p99_ms": "sent late p99, ms",
    "error_rate": "error rate",
}


def figures(samples: Sequence[Sample], wall: float, client: float, server: float | None) -> Round:
    """The figures of one round; NaN for what was not measured. `wall`, `client` and `server` are seconds."""
    good = [sample for sample in samples if sample.failure is None]
    tokens = [sample.tokens for sample in good if sample.tokens is not None]
    gaps = [b - a for sample in good for a, b in pairwise(sample.answer)]
    return {
        "requests_per_second": len(good) / wall,
        "tokens_per_second": sum(tokens) / wall if tokens and len(tokens) == len(good) else nan,
        **_percentiles("latency", [sample.seconds for sample in good]),
        **_percentiles("first_event", [sample.event for sample in good]),
        **_percentiles("first_token", [sample.text for sample in good]),
        **_percentiles("first_answer_token", [sample.answer[0] for sample in good if sample.answer]),
        "inter_token_mean_ms": 1000 * fmean(gaps) if gaps else nan,
        "inter_token_p99_ms": 1000 * percentile(gaps, 0.99),
        "server_cpu_ms": nan if server is None else 1000 * server / len(samples),
        "client_cpu_ms": 1000 * client / len(samples),
        "client_busy": client / wall,
        "sent_late_p99_ms": 1000 * percentile([sample.late for sample in samples if sample.late is not None], 0.99),
        "error_rate": 1 - len(good) / len(samples),
    }


def _percentiles(name: str, seconds: Sequence[float | None]) -> Round:
    known = [1000 * number for number in seconds if number is not None]
    return {f"{name}_p50_ms": percentile(known, 0.5), f"{name}_p99_ms": percentile(known, 0.99)}


def values(rounds: Sequence[Round], name: str) -> list[float]:
    """One figure of every round in which it was measured."""
    return [r[name] for r in rounds if isfinite(r[name])]


def ratios(ours: Sequence[Round], theirs: Sequence[Round], name: str) -> list[float]:
    """The ratio of each round in which both figures were measured."""
    pairs = ((a[name], b[name]) for a, b in zip(ours, theirs, strict=True))
    return [a / b for a, b in pairs if isfinite(a) and isfinite(b) and b]


def differences(ours: Sequence[Round], theirs: Sequence[Round], name: str) -> list[float]:
    """The same for the difference."""
    return [d for a, b in zip(ours, theirs, strict=True) if isfinite(d := a[name] - b[name])]


def spread(numbers: Sequence[float]) -> str:
    """`median (least to most)`, one number where all are the same, a dash of none."""
    if not numbers:
        return "—"
    if min(numbers) == max(numbers):
        return number(numbers[0])
    return f"{number(median(numbers))} ({number(min(numbers))} to {number(max(numbers))})"


def number(value: float) -> str:
    """Three digits, more where it is large."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def clean(found: Mapping[str, float]) -> dict[str, float | None]:
    """For JSON, which knows no NaN."""
    return {name: value if isfinite(value) else None for name, value in found.items()}
