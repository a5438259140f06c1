"""How the requests of a load are sent: in a closed or in an open loop.

Rule: in an open loop a request's time runs from when it was due, whoever kept it waiting. A closed loop asks a slow
server less often and so never shows its queue (coordinated omission); with requests that come by the clock, as those of
many users do, the queue is in every latency, be it in the server or before a free connection.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import accumulate

from benchmarks.connection import Connection
from benchmarks.exchange import Sample

Ask = Callable[[Connection, float | None], Awaitable[Sample]]
"""Sends the request on a connection; the number is when it was due, None for now."""


async def closed(ask: Ask, connections: Iterable[Connection], requests: int) -> list[Sample]:
    """Every connection sends its next request as soon as it has its reply."""
    left = iter(range(requests))

    async def one(connection: Connection) -> list[Sample]:
        return [await ask(connection, None) for _ in left]

    return [sample for part in await asyncio.gather(*map(one, connections)) for sample in part]


def arrivals(rate: float, requests: int, seed: str) -> list[float]:
    """When the requests of a Poisson process are due, in seconds: independent gaps, exponential with mean 1 / rate."""
    draw = random.Random(seed)
    return list(accumulate(draw.expovariate(rate) for _ in range(requests)))


async def opened(ask: Ask, connections: Iterable[Connection], due: Sequence[float]) -> list[Sample]:
    """Each request goes out when it is due, over the connection that was used last of those that are free.

    So only as many are ever connected as are in use at once. Where all are, the request waits for one.
    """
    free = asyncio.LifoQueue[Connection]()
    for connection in connections:
        free.put_nowait(connection)

    async def one(at: float) -> Sample:
        connection = await free.get()
        try:
            return await ask(connection, at)
        finally:
            free.put_nowait(connection)

    began, tasks = time.perf_counter(), []
    async with asyncio.TaskGroup() as group:
        for at in due:
            await _until(began + at)
            tasks.append(group.create_task(one(began + at)))
    return [task.result() for task in tasks]


async def _until(moment: float) -> None:
    """Event loops keep time in milliseconds: a timer that fires early is waited out, and the others have their turn."""
    await asyncio.sleep(moment - time.perf_counter())
    while time.perf_counter() < moment:  # noqa: ASYNC110, for less than a millisecond
        await asyncio.sleep(0)
