"""What each contender came to, beside the upstream alone and beside optillm.

Rule: differences and ratios are of figures of the same round.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.peers.contenders import UPSTREAM, Contender
from benchmarks.report import table
from benchmarks.rounds import clean, differences, ratios, spread, values
from benchmarks.target import Target

BESIDE = "optillm"
CALLS = "upstream_calls"
SHOWN = {
    "requests_per_second": "requests/s",
    "latency_p50_ms": "p50, ms",
    "latency_p99_ms": "p99, ms",
    "server_cpu_ms": "server CPU, ms/request",
    CALLS: "upstream calls/request",
    "error_rate": "error rate",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A contender and its two loads."""

    contender: Contender
    single: Target
    """One request at a time."""
    crowd: Target
    """Many at a time."""

    def ratios(self, other: Entry | None) -> list[float]:
        """Requests per second to the other's, many at a time; nothing where there is no other."""
        return ratios(self.crowd.rounds, other.crowd.rounds, "requests_per_second") if other else []

    def added(self, upstream: Entry) -> list[list[float]]:
        """Milliseconds more than the upstream alone: one at a time p50 and p99, then many at a time."""
        pairs = ((self.single, upstream.single), (self.crowd, upstream.crowd))
        figures = ("latency_p50_ms", "latency_p99_ms")
        return [differences(a.rounds, b.rounds, figure) for a, b in pairs for figure in figures]


def alone(entries: Sequence[Entry]) -> Entry:
    """The entry of the upstream."""
    return next(e for e in entries if e.contender.server == UPSTREAM)


def beside(entry: Entry, entries: Sequence[Entry]) -> Entry | None:
    """The entry of optillm that does the same."""
    same = (e for e in entries if e.contender.kind == entry.contender.kind and e.contender.server == BESIDE)
    return next(same, None)


def report(entries: Sequence[Entry], concurrency: int) -> str:
    """Two tables of medians over the rounds (range), and what failed."""
    crowd, added, notes = [], [], []
    for entry in entries:
        name = f"{entry.contender.kind}: {entry.contender.name}"
        figures = [spread(values(entry.crowd.rounds, figure)) for figure in SHOWN]
        others = (alone(entries), beside(entry, entries))
        crowd.append([name, *figures, *(spread(entry.ratios(other)) for other in others)])
        if entry.contender.server != UPSTREAM:
            added.append([name, *map(spread, entry.added(alone(entries)))])
        notes += entry.single.notes(f"{name}, one at a time") + entry.crowd.notes(f"{name}, {concurrency} at a time")
    times = [f"{load} at a time, {part}" for load in ("one", concurrency) for part in ("p50", "p99")]
    return "\n\n".join(
        [
            f"{concurrency} requests at a time, medians of the rounds (range):",
            table(["", *SHOWN.values(), "requests/s to the upstream's", f"to {BESIDE}'s"], crowd),
            "Milliseconds added to the latency of the upstream alone in the same round:",
            table(["", *times], added),
            *notes,
        ]
    )


def as_json(entries: Sequence[Entry], about: str, versions: Mapping[str, Sequence[str]]) -> str:
    """Everything that was measured, NaN as null."""

    def load(target: Target) -> dict[str, object]:
        return {"rounds": [clean(r) for r in target.rounds], "errors": dict(target.errors)}

    found = [
        {
            "name": entry.contender.name,
            "kind": entry.contender.kind,
            "one_at_a_time": load(entry.single),
            "many_at_a_time": load(entry.crowd),
            "added_ms": entry.added(alone(entries))[0],
            "ratios_to_upstream": entry.ratios(alone(entries)),
            f"ratios_to_{BESIDE}": entry.ratios(beside(entry, entries)),
        }
        for entry in entries
    ]
    return json.dumps({"about": about, "versions": versions, "contenders": found}, indent=1, allow_nan=False)
