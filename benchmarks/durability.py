"""`longthink bench durability`: what it costs that runs survive, for each store beside runs kept in memory.

Rule: the same streamed requests to servers that differ in nothing but the store, interleaved in rounds; ratios are to
`memory` in the same round. `foreground` is the same request without the background: nothing is kept, nothing survives.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks import cli
from benchmarks.event_loop import run
from benchmarks.report import provenance, publish, table
from benchmarks.rounds import FIGURES, clean, ratios
from benchmarks.servers import serving
from benchmarks.target import Load, Target, interleave

SHOWN = ("requests_per_second", "tokens_per_second", "latency_p50_ms", "latency_p99_ms", "server_cpu_ms", "error_rate")


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = cli.parser("durability", __doc__)
    made.add_argument("--redis", metavar="URL", help="a Redis to measure too, such as redis://127.0.0.1:6379/0")
    made.add_argument("--requests", type=int, default=1000, help="of all rounds, for each store (default: 1000)")
    made.add_argument("--concurrency", type=int, default=32, help="default: 32")
    made.add_argument("--rounds", type=int, default=5, help="default: 5")
    made.add_argument("--decoder", default="rc", help="default: rc")
    cli.add_options(made)
    made.add_argument("--token-delay", type=float, default=0.0, help="seconds a token of the scripted engine")
    made.add_argument("--words", type=int, default=100, help="words of the question, which the reply repeats")
    made.add_argument("--timeout", type=float, default=120, help="seconds for a request (default: 120)")
    made.add_argument("--table", type=Path, help="Markdown file")
    made.add_argument("--output", type=Path, help="JSON file")
    return made


def body(options: argparse.Namespace, *, background: bool) -> bytes:
    """The request."""
    request = {
        "model": "scripted",
        "messages": [{"role": "user", "content": " ".join(["word"] * options.words)}],
        "decoder": {"name": options.decoder, **cli.options(options.set)},
        "stream": True,
        "stream_options": {"include_usage": True},
        "seed": 1,
        **({"background": True} if background else {}),
    }
    return json.dumps(request).encode()


def report(measured: Mapping[str, Target]) -> str:
    """The table: medians of the rounds, and ratios to `memory`."""
    lines = []
    for name, target in measured.items():
        cells = [f"{median(r[figure] for r in target.rounds):,.4g}" for figure in SHOWN]
        found = ratios(target.rounds, measured["memory"].rounds, "requests_per_second")
        lines.append([name, *cells, f"{median(found):.2f} ({min(found):.2f} to {max(found):.2f})"])
    head = ["store", *(FIGURES[figure] for figure in SHOWN), "requests/s against memory, median (range)"]
    notes = [note for name, target in measured.items() for note in target.notes(name)]
    return "\n\n".join([table(head, lines), *notes])


def main(argv: Sequence[str]) -> int:
    """Measure and report; 1 if any request failed."""
    options = parser().parse_args(argv)
    requests = max(1, options.requests // options.rounds)
    load = Load(requests, options.concurrency, stream=True, timeout=options.timeout)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        stores = {"foreground": "memory", "memory": "memory", "sqlite": f"sqlite:{folder}/runs.db"}
        stores |= {"redis": options.redis} if options.redis else {}
        measured: dict[str, Target] = {}
        try:
            for name, store in stores.items():
                url, pid = stack.enter_context(
                    serving(
                        "--engine", "scripted", "--store", store, "--scripted.token-delay", str(options.token_delay)
                    )
                )
                asked = body(options, background=name != "foreground")
                measured[name] = Target(url, asked, load, pid=pid)
            run(interleave(list(measured.values()), options.rounds))
        except (ValueError, OSError) as error:
            print(f"longthink bench durability: {error}", file=sys.stderr)
            return 2
    about = provenance("durability", argv)
    publish(f"{report(measured)}\n\n{about}", options.table)
    if options.output:
        found = {
            name: {"rounds": [clean(r) for r in t.rounds], "errors": dict(t.errors)} for name, t in measured.items()
        }
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps({"about": about, "stores": found}, indent=1) + "\n")
    return 1 if any(target.errors for target in measured.values()) else 0
