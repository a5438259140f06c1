"""`longthink bench streams`: what many streams at once cost a server, and whether it is as before when they are gone.

A `longthink serve` with the scripted engine is started, and every stream is open before the first one ends. Rule: the
figures are of the server's process alone, and a stream that ends without an end mark or an error is told by number.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

from benchmarks import cli, processes
from benchmarks.connection import BadResponse, Connection
from benchmarks.event_loop import run
from benchmarks.report import provenance, publish, table
from benchmarks.statistics import percentile

_SPARE_FILES = 200
_SETTLE_SECONDS = 8.0
"""How long the server has to be as before; kept connections are closed after 5 s."""


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = cli.parser("streams", __doc__)
    made.add_argument("--streams", type=int, default=1000, help="open at once (default: 1000)")
    made.add_argument("--tokens", type=int, default=60, help="of each completion (default: 60)")
    made.add_argument("--interval", type=float, default=0.5, help="seconds between tokens of a stream (default: 0.5)")
    made.add_argument("--ramp", type=float, default=5.0, help="seconds over which they begin (default: 5)")
    made.add_argument("--decoder", default="direct", help="default: direct")
    cli.add_options(made)
    made.add_argument(
        "--abandon", type=float, default=0.0, help="share of clients that leave in the middle (default: 0)"
    )
    made.add_argument("--sigterm", action="store_true", help="send SIGTERM in the middle; the server has to drain")
    made.add_argument("--drain", type=float, default=120.0, help="seconds that it may take for this (default: 120)")
    made.add_argument("--table", type=Path, help="Markdown file")
    made.add_argument("--output", type=Path, help="JSON Lines file to append to")
    return made


@dataclass(slots=True)
class Usage:
    """The server's process at one moment; memory in bytes."""

    memory: int
    files: int
    running: int
    waiting: int


@dataclass(slots=True)
class Figures:
    """What one measurement gave; seconds unless the name says otherwise."""

    streams: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    before: Usage | None = None
    during: Usage | None = None
    after: Usage | None = None
    peak_memory: int = 0
    memory_per_stream: float = 0.0
    first_token_p50: float = 0.0
    first_token_p99: float = 0.0
    added_p50: float = 0.0
    added_p99: float = 0.0
    added_max: float = 0.0
    server_cpu: float = 0.0
    client_cpu: float = 0.0
    wall: float = 0.0
    tokens_per_second: float = 0.0
    exit_status: int | None = None


@dataclass(slots=True)
class Stream:
    """One client: when its pieces came, and how it ended."""

    began: float = 0.0
    arrivals: list[float] = field(default_factory=list)
    outcome: str = "refused"


class Crowd:
    """All clients of one measurement."""

    def __init__(self, url: str, body: bytes, options: argparse.Namespace) -> None:
        self._url, self._body, self._options = url, body, options
        self.streams = [Stream() for _ in range(options.streams)]

    @property
    def open(self) -> int:
        """Streams of which something has arrived."""
        return sum(bool(stream.arrivals) for stream in self.streams)

    async def run(self) -> None:
        """Every client to its end."""
        leaving = round(self._options.abandon * len(self.streams))
        await asyncio.gather(*(self._one(i, stream, leaves=i < leaving) for i, stream in enumerate(self.streams)))

    async def _one(self, place: int, stream: Stream, *, leaves: bool) -> None:
        connection, tail = Connection(self._url), b""
        await asyncio.sleep(self._options.ramp * place / len(self.streams))
        stream.began = time.perf_counter()
        try:
            async with aclosing(connection.post("/chat/completions", self._body)) as pieces:
                stream.outcome = "truncated" if await anext(pieces) == 200 else "refused"
                async for piece in pieces:
                    assert isinstance(piece, bytes)
                    stream.arrivals.append(time.perf_counter())
                    tail = (tail + piece)[-2000:]
                    if leaves and len(stream.arrivals) > self._options.tokens // 2:
                        stream.outcome = "left"
                        return
        except (OSError, BadResponse) as error:
            stream.outcome = f"broken off: {type(error).__name__}"
        if stream.outcome == "truncated":
            ended = b"data: [DONE]" in tail
            stream.outcome = "finished" if ended else "told an error" if b'"error"' in tail else "truncated"
        await connection.aclose()


@contextmanager
def server(options: argparse.Namespace) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server whose replies take `tokens` times `interval` seconds, and its URL."""
    command = [sys.executable, "-m", "server", "serve", "--engine", "scripted", "--port", "0", "--log-level", "error"]
    delay = str(options.interval)
    command += ["--scripted.words", str(options.tokens), "--scripted.token-delay", delay]
    command += ["--scripted.first-token-delay", delay, "--drain-seconds", str(options.drain)]
    command += ["--max-requests", str(options.streams + 64), "--max-connections", str(options.streams + 256)]
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("LONGTHINK_")}
    process = subprocess.Popen(command, env=quiet, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        if found is None:
            raise OSError("the server did not start")
        yield process, found[0]
    finally:
        process.kill()
        process.communicate()


async def usage(pid: int, url: str) -> Usage:
    """The server's process now. The connection that asks is among its files."""
    counts = Counter[str]()
    async with asyncio.timeout(30):
        for line in (await _get(url.removesuffix("/v1"), "/metrics")).splitlines():
            name, _, value = line.rpartition(" ")
            if (short := name.partition("{")[0].removeprefix("longthink:")) in _GAUGES:
                counts[short] += int(float(value))
    running, waiting = (counts[name] for name in _GAUGES)
    return Usage(processes.resident_bytes(pid), processes.open_files(pid), running, waiting)


_GAUGES = ("num_requests_running", "num_requests_waiting")


async def _get(url: str, path: str) -> str:
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
    text = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return text


async def measure(process: subprocess.Popen[str], url: str, options: argparse.Namespace) -> Figures:
    """One crowd, watched from before it comes until it has gone."""
    body = {"model": "scripted", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    body |= {"decoder": {"name": options.decoder, **cli.options(options.set)}}
    encoded = json.dumps(body).encode()
    found, crowd = Figures(streams=options.streams), Crowd(url, encoded, options)
    await _get(url.removesuffix("/v1"), "/v1/models")
    found.before = await usage(process.pid, url)
    cpu, own, began = processes.cpu_seconds(process.pid), time.process_time(), time.perf_counter()
    task = asyncio.create_task(crowd.run())
    while crowd.open < options.streams and not task.done():
        await asyncio.wait([task], timeout=0.05)
    if not task.done():
        found.during = await usage(process.pid, url)
        await _watch(process, task, found, options)
    await task
    found.wall = time.perf_counter() - began
    found.client_cpu = time.process_time() - own
    if not options.sigterm:
        found.server_cpu = processes.cpu_seconds(process.pid) - cpu
        found.after = await _settled(process.pid, url, found.before)
    else:
        found.exit_status = await asyncio.to_thread(process.wait, options.drain + 10)
    _sum_up(found, crowd.streams, options)
    return found


async def _watch(
    process: subprocess.Popen[str], task: asyncio.Task[None], found: Figures, options: argparse.Namespace
) -> None:
    """Note the peak; in the middle of the streams send the signal, where it is wanted."""
    middle = time.perf_counter() + options.tokens * options.interval / 2
    due = options.sigterm
    while not task.done() and process.poll() is None:
        found.peak_memory = max(found.peak_memory, processes.resident_bytes(process.pid))
        if due and time.perf_counter() >= middle:
            process.send_signal(signal.SIGTERM)
            due = False
        await asyncio.wait([task], timeout=0.2)


async def _settled(pid: int, url: str, before: Usage) -> Usage:
    """The process once it is as before, or as it is when it has had time enough."""
    end = time.perf_counter() + _SETTLE_SECONDS
    while True:
        now = await usage(pid, url)
        if (now.files <= before.files and not now.running + now.waiting) or time.perf_counter() > end:
            return now
        await asyncio.sleep(0.1)


def _sum_up(found: Figures, streams: Sequence[Stream], options: argparse.Namespace) -> None:
    found.outcomes = dict(Counter(stream.outcome for stream in streams))
    first = [stream.arrivals[0] - stream.began for stream in streams if stream.arrivals]
    found.first_token_p50, found.first_token_p99 = percentile(first, 0.5), percentile(first, 0.99)
    # only while all are open; the last piece of a stream follows its last token at once
    begin = max((stream.arrivals[0] for stream in streams if stream.arrivals), default=0.0)
    end = min((stream.arrivals[-1] for stream in streams if stream.arrivals), default=0.0)
    added = [
        b - a - options.interval
        for stream in streams
        for a, b in pairwise(stream.arrivals[:-1])
        if begin <= a and (b <= end or end <= begin)
    ]
    found.added_p50, found.added_p99 = percentile(added, 0.5), percentile(added, 0.99)
    found.added_max = max(added, default=float("nan"))
    found.tokens_per_second = sum(len(stream.arrivals) for stream in streams) / found.wall
    if found.before is not None:
        found.memory_per_stream = (found.peak_memory - found.before.memory) / len(streams)


def report(found: Figures) -> str:
    """The table."""
    rows = [["streams", f"{found.streams:,}"], *([name, f"{n:,}"] for name, n in sorted(found.outcomes.items()))]
    rows += [
        ["memory per stream at the peak", f"{found.memory_per_stream / 1024:.1f} KiB"],
        [
            "time to first piece p50 / p99",
            f"{1000 * found.first_token_p50:.0f} / {1000 * found.first_token_p99:.0f} ms",
        ],
        ["added latency per token p50", f"{1000 * found.added_p50:.2f} ms"],
        ["added latency per token p99", f"{1000 * found.added_p99:.2f} ms"],
        ["added latency per token, largest", f"{1000 * found.added_max:.1f} ms"],
        ["pieces per second", f"{found.tokens_per_second:,.0f}"],
        ["client CPU, share of the time", f"{found.client_cpu / found.wall:.2f}"],
    ]
    if found.server_cpu:
        rows.append(["server CPU, share of the time", f"{found.server_cpu / found.wall:.2f}"])
    for name, at in (("before", found.before), ("with all streams open", found.during), ("after", found.after)):
        if at is not None:
            text = f"{at.memory / 2**20:.1f} MiB, {at.files} files, {at.running} running, {at.waiting} waiting"
            rows.append([f"server {name}", text])
    if found.exit_status is not None:
        rows.append(["server's exit status", str(found.exit_status)])
    return table(["", ""], rows)


def sound(found: Figures) -> bool:
    """Whether every stream had an end and nothing is left of them."""
    ends = {"finished", "told an error", "left"}
    if not found.outcomes.keys() <= ends or found.exit_status not in (None, 0):
        return False
    before, after = found.before, found.after
    return before is None or after is None or (after.files <= before.files and not after.running + after.waiting)


def main(argv: Sequence[str]) -> int:
    """Measure and report; 1 if a stream was cut off or something leaked."""
    options = parser().parse_args(argv)
    results: list[Figures] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * options.streams + _SPARE_FILES
    try:
        if min(options.streams, options.tokens) < 1 or options.interval <= 0 or not 0 <= options.abandon <= 1:
            raise ValueError("--streams and --tokens are at least 1, --interval above 0, --abandon from 0 to 1")
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))

        async def once() -> None:
            with server(options) as (process, url):
                results.append(await measure(process, url, options))

        run(once())
    except (ValueError, OSError) as error:
        print(f"longthink bench streams: {error}", file=sys.stderr)
        return 2
    found, about = results[0], provenance("streams", argv)
    publish(f"{report(found)}\n\n{about}", options.table)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        with options.output.open("a") as file:
            file.write(json.dumps({"about": about, **asdict(found)}) + "\n")
    return 0 if sound(found) else 1
