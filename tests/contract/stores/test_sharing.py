"""Several instances and processes at one store."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

from server.store.base import Renewal, Store, Stored
from tests.contract.stores.conftest import Open, run
from tests.contract.stores.other import LIMIT
from tests.contract.stores.test_runs import new, read, refused


@contextmanager
def another_process(shared: Open, deed: str) -> Generator[subprocess.Popen[str], None, None]:
    command = [sys.executable, "-m", "tests.contract.stores.other", shared.kind, shared.where, shared.prefix, deed]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_instances_see_each_others_writes(shared: Open) -> None:
    async def work(one: Store, other: Store) -> None:
        lease = await one.create(new(), "one")
        reader = asyncio.create_task(read(other, "a"))
        for n in range(50):
            await one.append(lease, [f"{n}".encode()])
        await one.record(lease, [b"step"])
        assert await other.steps("a") == [b"step"]
        waiting = asyncio.create_task(one.changed(1000))
        await asyncio.sleep(0)
        await other.cancel("a")
        await waiting
        assert await one.renew("one", [lease]) == Renewal(cancelled=frozenset({"a"}))
        await one.release(lease)
        await other.changed(1000)
        (taken,) = await other.claim("other", 1)
        await refused(one, lease)
        await other.finish(taken, b"end", [b"last"])
        assert await reader == [*(f"{n}".encode() for n in range(50)), b"last"]
        assert (await one.get("a")) == Stored("a", b"end", background=True, done=True, order=b"order")
        assert await other.keep("k", b"other", 60, new=True)
        assert not await one.keep("k", b"one", 60, new=True)
        assert await one.value("k") == b"other"

    run(work, shared(), shared())


def test_a_run_is_claimed_by_exactly_one_instance(shared: Open) -> None:
    async def work(*stores: Store) -> None:
        for n in range(30):
            await stores[0].release(await stores[0].create(new(f"{n}"), "me"))
        claims = await asyncio.gather(*(store.claim(f"holder {n}", 4) for n, store in enumerate(stores * 4)))
        assert sorted(lease.id for some in claims for lease in some) == sorted(f"{n}" for n in range(30))

    run(work, shared(), shared(), shared())


def test_another_process_works_a_run_off(shared: Open) -> None:
    async def work(store: Store) -> None:
        await store.release(await store.create(new(), "me"))
        with another_process(shared, "work") as process:
            assert await read(store, "a") == [f"{n}".encode() for n in range(100)]
            mine = [(await store.take([(LIMIT, 1)])).granted for _ in range(30)]
            assert process.stdout is not None
            others = int(await asyncio.to_thread(process.stdout.readline))
        assert sum(mine) + others == LIMIT.most
        found = await store.get("a")
        assert found is not None
        assert found.body == b"by another process"

    run(work, shared())


def test_what_was_acknowledged_survives_the_death_of_its_process(shared: Open) -> None:
    with another_process(shared, "write") as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(50)]
        process.kill()
        acknowledged += map(int, process.stdout.read().split())

    async def work(store: Store) -> None:
        for log in await store.entries("killed"), await store.steps("killed"):
            assert log == [f"{n}".encode() for n in range(len(log))]
            assert len(log) >= len(acknowledged)

    run(work, shared())
