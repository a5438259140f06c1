"""What each contender came to, beside the upstream alone and beside optillm. Rule: differences and ratios are within a round."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.peers.contenders import UPSTREAM, Contender
from benchmarks.report import table
from benchmarks.rounds import Round, clean, differences, ratios, spread, values
from benchmarks.target import Target

BESIDE = "optillm"
CALLS = "upstream_calls"


@dataclass(frozen=True, slots=True)
class Entry:
    """A contender and its two loads."""

    contender: Contender
    single: Target
    """One request at a time."""
    crowd: Target
    """Many at a time."""


def beside(entry: Entry, entries: Sequence[Entry]) -> Entry | None:
    """The entry of optillm that does the same."""
    same = (e for e in entries if e.contender.kind == entry.contender.kind and e.contender.server == BESIDE)
    return next(same, None)


def _upstream(entries: Sequence[Entry]) -> Entry:
    return next(e for e in entries if e.contender.server == UPSTREAM)


def report(entries: Sequence[Entry], concurrency: int) -> str:
    """Two tables of medians over the rounds (range), and what failed."""
    at_once, added, notes = [], [], []
    upstream = _upstream(entries)
    for entry in entries:
        rounds, name = entry.crowd.rounds, entry.contender.name
        figures = ("requests_per_second", "latency_p50_ms", "latency_p99_ms", "server_cpu_ms", CALLS, "error_rate")
        peer = beside(entry, entries)
        at_once.append(
            [
                entry.contender.kind,
                name,
                *(spread(values(rounds, figure)) for figure in figures),
                spread(ratios(rounds, upstream.crowd.rounds, "requests_per_second")),
                spread(ratios(rounds, peer.crowd.rounds, "requests_per_second") if peer else ()),
            ]
        )
        if entry is not upstream:
            added.append([entry.contender.kind, name, *_added(entry, upstream)])
        notes += entry.single.notes(f"{name}, one at a time") + entry.crowd.notes(f"{name}, {concurrency} at a time")
    head = [
        "",
        "",
        "requests/s",
        "p50, ms",
        "p99, ms",
        "server CPU, ms/request",
        "upstream calls/request",
        "error rate",
    ]
    head += ["requests/s, ratio to the upstream", f"ratio to {BESIDE}"]
    times = [f"{load}, {part}" for load in ("one at a time", f"{concurrency} at a time") for part in ("p50", "p99")]
    return "\n\n".join(
        [
            f"{concurrency} requests at a time, medians of the rounds (range):",
            table(head, at_once),
            "Milliseconds added to the latency of the upstream alone in the same round:",
            table(["", "", *times], added),
            *notes,
        ]
    )


def _added(entry: Entry, upstream: Entry) -> list[str]:
    pairs = ((entry.single, upstream.single), (entry.crowd, upstream.crowd))
    figures = ("latency_p50_ms", "latency_p99_ms")
    return [spread(differences(a.rounds, b.rounds, figure)) for a, b in pairs for figure in figures]


def as_json(entries: Sequence[Entry], about: str, versions: Mapping[str, Sequence[str]]) -> str:
    """Everything that was measured, NaN as null."""

    def load(target: Target) -> dict[str, object]:
        return {"rounds": [clean(r) for r in target.rounds], "errors": dict(target.errors)}

    def against(ours: Sequence[Round], other: Entry | None) -> list[float] | None:
        return ratios(ours, other.crowd.rounds, "requests_per_second") if other else None

    found = [
        {
            "name": entry.contender.name,
            "kind": entry.contender.kind,
            "one_at_a_time": load(entry.single),
            "many_at_a_time": load(entry.crowd),
            "ratio_to_upstream": against(entry.crowd.rounds, _upstream(entries)),
            f"ratio_to_{BESIDE}": against(entry.crowd.rounds, beside(entry, entries)),
            "added_ms": differences(entry.single.rounds, _upstream(entries).single.rounds, "latency_p50_ms"),
        }
        for entry in entries
    ]
    return json.dumps({"about": about, "versions": versions, "contenders": found}, indent=1, allow_nan=False)
