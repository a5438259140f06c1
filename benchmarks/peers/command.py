"""The command: install, start, measure in turn, report. Rule: one bad request makes the exit status 1."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import benchmarks.peers
from benchmarks import cli
from benchmarks.event_loop import run
from benchmarks.peers.comparison import CALLS, Entry, as_json, report
from benchmarks.peers.contenders import CONTENDERS, MODEL, UPSTREAM, Contender, serving
from benchmarks.peers.installation import PIP_CALLS, install, versions
from benchmarks.report import provenance, publish
from benchmarks.servers import Server
from benchmarks.target import Load, Target


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = cli.parser("peers", benchmarks.peers.__doc__)
    everyone = ",".join(PIP_CALLS)
    made.add_argument("--peers", default=everyone, help=f"which, with commas, or none (default: {everyone})")
    made.add_argument(
        "--environments", type=Path, default=Path(".peers"), metavar="DIR", help="where they are (default: .peers)"
    )
    made.add_argument("--rounds", type=int, default=5, help="default: 5")
    made.add_argument("--requests", type=int, default=400, help="of a round, many at a time (default: 400)")
    made.add_argument("--concurrency", type=int, default=32, help="so many (default: 32)")
    made.add_argument("--sequential", type=int, default=50, help="of a round, one at a time (default: 50)")
    made.add_argument("--delay", type=float, default=20, help="milliseconds of the upstream (default: 20)")
    made.add_argument("--prompt", default="Use 5 8 9 5 to make 18", help="the user's message")
    made.add_argument("--timeout", type=float, default=120, help="seconds for a request (default: 120)")
    made.add_argument("--table", type=Path, help="Markdown file")
    made.add_argument("--output", type=Path, help="JSON file")
    return made


def chosen(options: argparse.Namespace) -> list[str]:
    """The peers that are asked for; `ValueError` for what cannot be."""
    peers = [] if options.peers == "none" else options.peers.split(",")
    if unknown := [peer for peer in peers if peer not in PIP_CALLS]:
        raise ValueError(f"unknown peer {unknown[0]!r}: there are {', '.join(PIP_CALLS)}")
    if min(options.rounds, options.requests, options.concurrency, options.sequential) < 1:
        raise ValueError("--rounds, --requests, --concurrency and --sequential are at least 1")
    return peers


def entry(contender: Contender, server: Server, options: argparse.Namespace) -> Entry:
    """Both loads of a contender."""
    message = {"role": "user", "content": options.prompt}
    body = json.dumps({"model": MODEL, "messages": [message], **contender.fields}).encode()
    single = Load(options.sequential, 1, timeout=options.timeout)
    crowd = Load(options.requests, options.concurrency, timeout=options.timeout)
    return Entry(contender, *(Target(server.url, body, load, pid=server.pid) for load in (single, crowd)))


async def measure(entries: Sequence[Entry], upstream: Server, rounds: int) -> None:
    """All rounds. Calls are counted over the warm-up too, which is asked through the same server."""
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        turn = entries if number % 2 == 0 else entries[::-1]
        for target in [*(e.single for e in turn), *(e.crowd for e in turn)]:
            calls, sent = _calls(upstream), target.sent
            await target.round()
            target.rounds[-1][CALLS] = (_calls(upstream) - calls) / (target.sent - sent)


def _calls(upstream: Server) -> int:
    calls: int = json.loads(upstream.ask("GET", "/calls")[1])["calls"]
    return calls


def main(argv: Sequence[str]) -> int:
    """Measure and report; 1 if any request failed."""
    options = parser().parse_args(argv)
    try:
        peers = chosen(options)
        for peer in peers:
            install(peer, options.environments)
        found = {"longthink": [f"longthink=={version('longthink')}"]}
        found |= {peer: versions(peer, options.environments) for peer in peers}
        with (
            tempfile.TemporaryDirectory() as folder,
            serving(peers, options.environments, options.delay, Path(folder)) as servers,
        ):
            entries = [entry(c, servers[c.server], options) for c in CONTENDERS if c.server in servers]
            run(measure(entries, servers[UPSTREAM], options.rounds))
    except (ValueError, OSError) as error:
        print(f"longthink bench peers: {error}", file=sys.stderr)
        return 2
    about = provenance("peers", argv)
    publish(f"{report(entries, options.concurrency)}\n\n{about}", options.table)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(as_json(entries, about, found) + "\n")
    return 1 if any(target.errors for e in entries for target in (e.single, e.crowd)) else 0
