"""What a durable write costs: latency alone, latency and throughput with many writers.

Rule: every writer has a run of its own and waits for each write, as the server does.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from benchmarks import cli
from benchmarks.report import provenance
from server.store.base import Limit, Store, Stored
from server.store.memory import MemoryStore
from server.store.redis.store import RedisStore
from server.store.sqlite import store as sqlite

ENTRIES, STEP = [b"e" * 200] * 4, b"s" * 4000
LIMIT = Limit("tokens", 10**12, 60)


def main(argv: Sequence[str]) -> int:
    """Measure each store that is named."""
    parser = cli.parser("stores", __doc__)
    parser.add_argument("stores", nargs="+", help="memory, sqlite:PATH or redis://HOST:PORT/DB")
    parser.add_argument("--writers", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--synchronous", choices=["FULL", "NORMAL"], default="FULL", help="of SQLite")
    options = parser.parse_args(argv)
    sqlite.SYNCHRONOUS = options.synchronous
    print("| store | writers | write | writes/s | p50 ms | p99 ms |\n|---|---|---|---|---|---|")
    for name in options.stores:
        asyncio.run(measure(name, options.writers, options.seconds))
    print(f"\n{provenance('stores', argv)}")
    return 0


def opened(name: str) -> Store:
    """A store by its name."""
    kind, _, where = name.partition(":")
    if kind == "sqlite":
        return sqlite.SqliteStore(Path(where), seconds=1.0)
    if kind == "redis":
        return RedisStore(name, seconds=60.0, prefix=f"benchmark-{uuid.uuid4().hex}:")
    return MemoryStore(limit=1000, seconds=60.0, max_bytes=10**9)


async def measure(name: str, writers: list[int], seconds: float) -> None:
    """Print a row for each kind of write and number of writers."""
    store = opened(name)
    for many in writers:
        leases = [await store.create(Stored(uuid.uuid4().hex, b"{}"), "benchmark") for _ in range(many)]
        writes: dict[str, Callable[[int], Awaitable[object]]] = {
            "append": lambda n, leases=leases: store.append(leases[n], ENTRIES),  # type: ignore[misc]
            "record": lambda n, leases=leases: store.record(leases[n], [STEP]),  # type: ignore[misc]
            "take": lambda n: store.take([(LIMIT, 1)]),
        }
        for kind, write in writes.items():
            times = await _load(write, many, seconds)
            p50, p99 = (1000 * times[int(share * (len(times) - 1))] for share in (0.5, 0.99))
            print(
                f"| {name.partition(':')[0]} | {many} | {kind} | {len(times) / seconds:.0f} | {p50:.2f} | {p99:.2f} |"
            )
        for lease in leases:
            await store.delete(lease.id)
    await store.aclose()


async def _load(write: Callable[[int], Awaitable[object]], writers: int, seconds: float) -> list[float]:
    """How long each write took, sorted."""
    times: list[float] = []
    ends = time.perf_counter() + seconds

    async def work(n: int) -> None:
        while (before := time.perf_counter()) < ends:
            await write(n)
            times.append(time.perf_counter() - before)

    await asyncio.gather(*map(work, range(writers)))
    return sorted(times)
