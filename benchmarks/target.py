"""One server under load.

Rule: servers take turns, in rounds of the same requests, each round on new connections that have been used once.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks import processes
from benchmarks.connection import Connection
from benchmarks.exchange import Failure, Sample, exchange
from benchmarks.loops import arrivals, closed, opened
from benchmarks.rounds import Round, figures

WARMED = 32


@dataclass(frozen=True, slots=True)
class Load:
    """What a server gets in one round: with a `rate`, that many requests a second; without, the next after a reply."""

    requests: int
    concurrency: int
    """Connections, one request each."""
    rate: float | None = None
    seed: int = 0
    """Of the moments at which requests are due: the same in the same round of every server."""
    stream: bool = False
    timeout: float = 120.0
    """Seconds for one request."""


class Target:
    """One server, the request it is sent, and what the rounds gave."""

    def __init__(self, url: str, body: bytes, load: Load, *, key: str | None = None, pid: int | None = None) -> None:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._new = partial(Connection, url, headers)
        self._new()  # a wrong URL is told before anything runs
        self._body, self._load, self._pid = body, load, pid
        self.rounds: list[Round] = []
        self.errors: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        """Of each kind of error the first."""
        self.sent = 0
        """Requests so far, those that only warm up included."""

    async def round(self) -> None:
        """Open and warm connections, send the requests, keep the figures."""
        load = self._load
        connections = [self._new() for _ in range(min(load.concurrency, load.requests))]
        try:
            warmed = connections if load.rate is None else connections[-WARMED:]
            await asyncio.gather(*(self._ask(connection) for connection in warmed))
            before = self._clocks()
            samples = await self._send(connections)
            after = self._clocks()
        finally:
            await asyncio.gather(*(connection.aclose() for connection in connections))
        server, client, wall = (b - a for a, b in zip(before, after, strict=True))
        for sample in samples:
            self._note(sample.failure)
        self.rounds.append(figures(samples, wall, client, server if self._pid else None))

    async def _send(self, connections: Sequence[Connection]) -> list[Sample]:
        load = self._load
        if load.rate is None:
            return await closed(self._ask, connections, load.requests)
        due = arrivals(load.rate, load.requests, f"{load.seed}/{len(self.rounds)}")
        return await opened(self._ask, connections, due)

    async def _ask(self, connection: Connection, due: float | None = None) -> Sample:
        self.sent += 1
        load = self._load
        return await exchange(connection, self._body, stream=load.stream, limit=load.timeout, due=due)

    def _clocks(self) -> tuple[float, float, float]:
        return processes.cpu_seconds(self._pid), time.process_time(), time.perf_counter()

    def _note(self, failure: Failure | None) -> None:
        if failure is not None:
            self.errors[failure.kind] += 1
            self.examples.setdefault(failure.kind, failure.detail)

    def notes(self, name: str) -> list[str]:
        """The kinds of errors as lines of a report, the most frequent first."""
        return [
            f"{name}: {times} x {kind}" + (f": {self.examples[kind]}" if self.examples[kind] else "")
            for kind, times in self.errors.most_common(5)
        ]


async def interleave(targets: Sequence[Target], rounds: int) -> None:
    """All rounds; every second one in the opposite order, so that no server always comes first."""
    for number in range(rounds):
        for target in targets if number % 2 == 0 else reversed(targets):
            await target.round()
