"""Another process at the same store: `python -m tests.contract.stores.other KIND WHERE PREFIX DEED`, told on stdout."""

from __future__ import annotations

import asyncio
import itertools
import sys

from server.store.base import Limit, Store, Stored
from tests.contract.stores.conftest import Open
from tests.contract.stores.support import eventually

LIMIT = Limit("shared", 40, 86_400)


async def work_off(store: Store) -> None:
    """Claim runs until there is one, write its log, finish it; take what there is meanwhile."""
    (lease,) = await eventually(lambda: store.claim("other", 1))
    for n in range(100):
        await store.append(lease, [f"{n}".encode()])
    await store.finish(lease, b"by another process", [])
    granted = [(await store.take([(LIMIT, 1)])).granted for _ in range(30)]
    print(sum(granted), flush=True)


async def write_until_killed(store: Store) -> None:
    """Say of every entry that it is written as soon as it is."""
    lease = await store.create(Stored("killed", b"{}"), "other")
    for n in itertools.count():
        await asyncio.gather(store.append(lease, [f"{n}".encode()]), store.record(lease, [f"{n}".encode()]))
        print(n, flush=True)


if __name__ == "__main__":
    kind, where, prefix, deed = sys.argv[1:]
    asyncio.run({"work": work_off, "write": write_until_killed}[deed](Open(kind, where, prefix)()))
