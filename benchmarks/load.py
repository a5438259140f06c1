"""`longthink bench load`: requests per second, latency, time to first token and server CPU under a closed loop.

Rule: two servers are only compared interleaved, in rounds of the same requests, by the median of the rounds' ratios:
on a shared machine absolute figures drift, ratios of neighbouring rounds hardly do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from math import isfinite, nan
from pathlib import Path
from statistics import median

from pydantic import JsonValue

from benchmarks import cli, processes
from benchmarks.connection import Connection
from benchmarks.exchange import Sample, exchange
from benchmarks.report import provenance, publish, table
from benchmarks.statistics import percentile

Round = dict[str, float]

FIGURES = {
    "requests_per_second": "requests/s",
    "tokens_per_second": "tokens/s",
    "latency_p50_ms": "latency p50, ms",
    "latency_p99_ms": "latency p99, ms",
    "first_token_p50_ms": "time to first token p50, ms",
    "first_token_p99_ms": "time to first token p99, ms",
    "inter_token_p50_ms": "inter-token latency p50, ms",
    "inter_token_p99_ms": "inter-token latency p99, ms",
    "server_cpu_ms": "server CPU, ms/request",
    "client_cpu_ms": "client CPU, ms/request",
    "client_busy": "client CPU, share of the time",
    "errors": "errors",
}
BUSY = 0.8


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = cli.parser("load", __doc__)
    cli.add_endpoint(made)
    made.add_argument("--against", metavar="URL", help="another server, measured in turn with the first")
    made.add_argument("--against-model", metavar="MODEL", help="its model (default: the same)")
    made.add_argument("--against-api-key", metavar="KEY", help="its key (default: the same)")
    made.add_argument("--requests", type=int, default=2000, help="of all rounds, for each server (default: 2000)")
    made.add_argument("--concurrency", type=int, default=32, help="connections, one request each (default: 32)")
    made.add_argument("--rounds", type=int, default=5, help="default: 5")
    made.add_argument("--stream", action="store_true", help="streamed completions; gives time to first token")
    made.add_argument("--prompt", default="Use 5 8 9 5 to make 18", help="the user's message")
    made.add_argument("--decoder", help="name of the decoder (default: none is sent)")
    cli.add_options(made)
    made.add_argument("--max-completion-tokens", type=int, help="default: none is sent")
    made.add_argument("--body", metavar="JSON", help="merged into the request; null takes a field away")
    made.add_argument("--against-body", metavar="JSON", help="the same for the other server, after --body")
    made.add_argument("--pid", type=int, help="process of the server, for its CPU time, children included (Linux)")
    made.add_argument("--against-pid", type=int, help="process of the other server")
    made.add_argument("--timeout", type=float, default=120, help="seconds for a request (default: 120)")
    made.add_argument("--table", type=Path, help="Markdown file")
    made.add_argument("--output", type=Path, help="JSON file")
    return made


class Target:
    """One server under load and what the rounds gave."""

    def __init__(
        self, url: str, key: str | None, body: bytes, pid: int | None, options: argparse.Namespace, *, stream: bool
    ) -> None:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._new = partial(Connection, url, headers)
        self._new()  # a wrong URL is told before anything runs
        self._body, self._pid, self._options, self._stream = body, pid, options, stream
        self.rounds: list[Round] = []
        self.errors: Counter[str] = Counter()

    async def round(self, requests: int) -> None:
        """One closed loop: every connection sends its next request as soon as it has its reply."""
        options = self._options
        connections = [self._new() for _ in range(min(options.concurrency, requests))]
        try:
            # opens the connections, which servers may have closed since the last round, and warms up; not measured
            await asyncio.gather(*(self._ask(connection) for connection in connections))
            before = processes.cpu_seconds(self._pid), time.process_time(), time.perf_counter()
            left = iter(range(requests))
            samples = [s for part in await asyncio.gather(*(self._loop(c, left) for c in connections)) for s in part]
            after = processes.cpu_seconds(self._pid), time.process_time(), time.perf_counter()
        finally:
            await asyncio.gather(*(connection.aclose() for connection in connections))
        server, client, wall = (b - a for a, b in zip(before, after, strict=True))
        self.errors.update(sample.error for sample in samples if sample.error)
        self.rounds.append(figures(samples, wall, client, server if self._pid else None))

    async def _loop(self, connection: Connection, left: Iterator[int]) -> list[Sample]:
        return [await self._ask(connection) for _ in left]

    async def _ask(self, connection: Connection) -> Sample:
        return await exchange(connection, self._body, stream=self._stream, limit=self._options.timeout)


def figures(samples: Sequence[Sample], wall: float, client: float, server: float | None) -> Round:
    """The figures of one round; NaN for what was not measured. `wall`, `client` and `server` are seconds."""
    good = [sample for sample in samples if sample.error is None]
    first = [1000 * sample.arrivals[0] for sample in good if sample.arrivals]
    gaps = [1000 * (b - a) for sample in good for a, b in pairwise(sample.arrivals)]
    latency = [1000 * sample.seconds for sample in good]
    tokens = [sample.tokens for sample in good if sample.tokens is not None]
    return {
        "requests_per_second": len(good) / wall,
        "tokens_per_second": sum(tokens) / wall if tokens and len(tokens) == len(good) else nan,
        "latency_p50_ms": percentile(latency, 0.5),
        "latency_p99_ms": percentile(latency, 0.99),
        "first_token_p50_ms": percentile(first, 0.5),
        "first_token_p99_ms": percentile(first, 0.99),
        "inter_token_p50_ms": percentile(gaps, 0.5),
        "inter_token_p99_ms": percentile(gaps, 0.99),
        "server_cpu_ms": nan if server is None else 1000 * server / len(samples),
        "client_cpu_ms": 1000 * client / len(samples),
        "client_busy": client / wall,
        "errors": float(len(samples) - len(good)),
    }


def bodies(options: argparse.Namespace) -> tuple[bytes, bytes]:
    """The request to the first server and to the other one."""
    request: dict[str, JsonValue] = {
        "model": options.model,
        "messages": [{"role": "user", "content": options.prompt}],
        "decoder": {"name": options.decoder, **cli.options(options.set)} if options.decoder else None,
        "max_completion_tokens": options.max_completion_tokens,
        "stream": options.stream or None,
        "stream_options": {"include_usage": True} if options.stream else None,
    }
    first = request | _object(options.body)
    other = first | ({"model": options.against_model} if options.against_model else {}) | _object(options.against_body)
    one, two = (json.dumps({k: v for k, v in body.items() if v is not None}).encode() for body in (first, other))
    return one, two


def _object(text: str | None) -> dict[str, JsonValue]:
    found = json.loads(text) if text else {}
    if not isinstance(found, dict):
        raise ValueError(f"not a JSON object: {text}")
    return found


def targets(options: argparse.Namespace) -> list[Target]:
    """The server, and the other one if there is one."""
    one, two = bodies(options)
    found = [Target(options.url, options.api_key, one, options.pid, options, stream=options.stream)]
    if options.against:
        key = options.against_api_key or options.api_key
        found.append(Target(options.against, key, two, options.against_pid, options, stream=options.stream))
    return found


async def measure(measured: Sequence[Target], options: argparse.Namespace) -> None:
    """All rounds; every second one in the opposite order, so that neither server always comes first."""
    for number in range(options.rounds):
        for target in measured if number % 2 == 0 else reversed(measured):
            await target.round(max(1, options.requests // options.rounds))


def ratios(one: Target, other: Target, name: str) -> list[float]:
    """The ratio of each round in which both figures were measured."""
    pairs = ((a[name], b[name]) for a, b in zip(one.rounds, other.rounds, strict=True))
    return [a / b for a, b in pairs if isfinite(a) and isfinite(b) and b]


def report(measured: Sequence[Target]) -> str:
    """The table: the median of the rounds with their range; and of the ratios."""
    header = ["", "median (range of rounds)"]
    if len(measured) == 2:
        header = ["", "server (range of rounds)", "against", "ratio, median (range)"]
    lines = []
    for name, title in FIGURES.items():
        cells = [_range([r[name] for r in target.rounds if isfinite(r[name])]) for target in measured]
        cells += [_range(ratios(measured[0], measured[1], name))] if len(measured) == 2 else []
        if any(cell != "—" for cell in cells):
            lines.append([title, *cells])
    notes = []
    if any(r["client_busy"] > BUSY for target in measured for r in target.rounds):
        notes.append("The client used most of its core in some rounds: the server may be faster than this shows.")
    for target, name in zip(measured, ("server", "against"), strict=False):
        notes += [f"{name}: {times} x {error}" for error, times in target.errors.most_common(5)]
    return "\n\n".join([table(header, lines), *notes])


def _range(values: Sequence[float]) -> str:
    return f"{_number(median(values))} ({_number(min(values))} to {_number(max(values))})" if values else "—"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def as_json(measured: Sequence[Target], about: str) -> str:
    """Everything that was measured, NaN as null."""

    def clean(figures: Mapping[str, float]) -> dict[str, float | None]:
        return {name: number if isfinite(number) else None for name, number in figures.items()}

    found = [{"rounds": [clean(r) for r in target.rounds], "errors": dict(target.errors)} for target in measured]
    pairs = {name: ratios(measured[0], measured[1], name) for name in FIGURES} if len(measured) == 2 else {}
    medians = {name: median(values) for name, values in pairs.items() if values}
    return json.dumps({"about": about, "targets": found, "median_ratios": medians}, indent=1, allow_nan=False)


def run(main: Coroutine[None, None, None]) -> None:
    """On uvloop where there is one: it halves the client's own cost."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        asyncio.run(main)
        return
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main)


def main(argv: Sequence[str]) -> int:
    """Measure and report; 1 if any request failed."""
    options = parser().parse_args(argv)
    try:
        if min(options.requests, options.concurrency, options.rounds) < 1:
            raise ValueError("--requests, --concurrency and --rounds are at least 1")
        measured = targets(options)
        run(measure(measured, options))
    except (ValueError, OSError) as error:
        print(f"longthink bench load: {error}", file=sys.stderr)
        return 2
    about = provenance("load", argv)
    publish(f"{report(measured)}\n\n{about}", options.table)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(as_json(measured, about) + "\n")
    return 1 if any(target.errors for target in measured) else 0
