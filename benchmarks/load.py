"""`longthink bench load`: rates, latencies, token times and errors of a server under load, beside another one.

Without `--rate` the loop is closed: each connection sends its next request when it has its reply. With it requests come
at random moments (a Poisson process) whether or not earlier ones are done, and latency counts from when one was due. Of
a stream are told the first event of any kind (a role, progress), the first token (reasoning or answer), the first token
of the answer, and the gaps between chunks of the answer; where a chunk holds several tokens, gaps are fewer and longer.

Rule: two servers are only compared interleaved, in rounds of the same requests, by the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from pydantic import JsonValue

from benchmarks import cli
from benchmarks.event_loop import run
from benchmarks.report import provenance, publish, table
from benchmarks.rounds import FIGURES, clean, ratios, spread, values
from benchmarks.target import Load, Target, interleave

BUSY = 0.8
LATE = 10.0
"""Milliseconds."""


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = cli.parser("load", __doc__)
    cli.add_endpoint(made)
    made.add_argument("--against", metavar="URL", help="another server, measured in turn with the first")
    made.add_argument("--against-model", metavar="MODEL", help="its model (default: the same)")
    made.add_argument("--against-api-key", metavar="KEY", help="its key (default: the same)")
    made.add_argument("--requests", type=int, default=2000, help="of all rounds, for each server (default: 2000)")
    made.add_argument("--concurrency", type=int, help="connections, one request each (default: 32, with --rate 512)")
    made.add_argument("--rate", type=float, metavar="R", help="open loop: requests a second (default: a closed loop)")
    made.add_argument("--seed", type=int, default=0, help="of the moments at which they are sent (default: 0)")
    made.add_argument("--rounds", type=int, default=5, help="default: 5")
    made.add_argument("--stream", action="store_true", help="streamed completions; gives the times of tokens")
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


def load(options: argparse.Namespace) -> Load:
    """What each server gets in a round; `ValueError` for what cannot be."""
    concurrency = options.concurrency if options.concurrency is not None else 32 if options.rate is None else 512
    if min(options.requests, concurrency, options.rounds) < 1:
        raise ValueError("--requests, --concurrency and --rounds are at least 1")
    if options.rate is not None and not 0 < options.rate < float("inf"):
        raise ValueError("--rate is above 0")
    requests = max(1, options.requests // options.rounds)
    return Load(requests, concurrency, options.rate, options.seed, options.stream, options.timeout)


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
    sent, (one, two) = load(options), bodies(options)
    found = [Target(options.url, one, sent, key=options.api_key, pid=options.pid)]
    if options.against:
        key = options.against_api_key or options.api_key
        found.append(Target(options.against, two, sent, key=key, pid=options.against_pid))
    return found


def report(measured: Sequence[Target]) -> str:
    """The table: the median of the rounds with their range; and of the ratios."""
    header = ["", "median (range of rounds)"]
    if len(measured) == 2:
        header = ["", "server (range of rounds)", "against", "ratio, median (range)"]
    lines = []
    for name, title in FIGURES.items():
        cells = [spread(values(target.rounds, name)) for target in measured]
        cells += [spread(ratios(measured[0].rounds, measured[1].rounds, name))] if len(measured) == 2 else []
        if any(cell != "—" for cell in cells):
            lines.append([title, *cells])
    notes, rounds = [], [r for target in measured for r in target.rounds]
    if any(r["client_busy"] > BUSY for r in rounds):
        notes.append("The client used most of its core in some rounds: the server may be faster than this shows.")
    if any(r["sent_late_p99_ms"] > LATE for r in rounds):
        notes.append("Some requests were sent late, which their latency includes: no connection was free, or no CPU.")
    for target, name in zip(measured, ("server", "against"), strict=False):
        notes += target.notes(name)
    return "\n\n".join([table(header, lines), *notes])


def as_json(measured: Sequence[Target], about: str) -> str:
    """Everything that was measured, NaN as null."""
    found = [{"rounds": [clean(r) for r in target.rounds], "errors": dict(target.errors)} for target in measured]
    medians = {}
    if len(measured) == 2:
        pairs = {name: ratios(measured[0].rounds, measured[1].rounds, name) for name in FIGURES}
        medians = {name: median(of) for name, of in pairs.items() if of}
    return json.dumps({"about": about, "targets": found, "median_ratios": medians}, indent=1, allow_nan=False)


def main(argv: Sequence[str]) -> int:
    """Measure and report; 1 if any request failed."""
    options = parser().parse_args(argv)
    try:
        measured = targets(options)
        run(interleave(measured, options.rounds))
    except (ValueError, OSError) as error:
        print(f"longthink bench load: {error}", file=sys.stderr)
        return 2
    about = provenance("load", argv)
    publish(f"{report(measured)}\n\n{about}", options.table)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(as_json(measured, about) + "\n")
    return 1 if any(target.errors for target in measured) else 0
