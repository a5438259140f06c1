"""What the store in memory forgets."""

from __future__ import annotations

from typing import Any

from server.store.base import Limit, Store, Stored
from server.store.memory import MemoryStore
from tests.contract.stores.conftest import run
from tests.contract.stores.test_runs import new, read


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def memory(clock: Clock | None = None, **limits: Any) -> MemoryStore:
    return MemoryStore(**{"limit": 10, "seconds": 60.0, "max_bytes": 10_000, **limits}, clock=clock or Clock())


def done(id: str, body: bytes = b"{}") -> Stored:
    return Stored(id, body, done=True)


async def kept(store: Store, *ids: str) -> list[str]:
    return [id for id in ids if await store.get(id) is not None]


def test_the_first_that_were_done_go_first() -> None:
    async def work(store: Store) -> None:
        lease = await store.create(new("runs"), "me")
        await store.create(new("goes on"), "me")
        await store.put(done("a"))
        await store.finish(lease, b"{}", [])
        assert await kept(store, "runs", "goes on", "a") == ["runs", "goes on", "a"]
        await store.put(done("b"))
        assert await kept(store, "runs", "goes on", "a", "b") == ["runs", "goes on", "b"]

    run(work, memory(limit=3))


def test_they_are_forgotten_some_time_after_their_end() -> None:
    clock = Clock()

    async def work(store: Store) -> None:
        lease = await store.create(new(), "me")
        clock.now += 100
        assert await kept(store, "a") == ["a"]
        await store.finish(lease, b"{}", [])
        clock.now += 59
        assert await kept(store, "a") == ["a"]
        clock.now += 1
        assert await kept(store, "a") == []

    run(work, memory(clock))


def test_bytes_are_bounded_logs_and_orders_included() -> None:
    async def work(store: Store) -> None:
        await store.put(done("a", b"x" * 300))
        lease = await store.create(Stored("b", b"{}", order=b"o" * 100), "me")
        await store.append(lease, [b"y" * 200])
        await store.record(lease, [b"z" * 300])
        assert await kept(store, "a", "b") == ["a", "b"]
        await store.update(lease, b"x" * 600)
        assert await kept(store, "a", "b") == ["b"]
        await store.delete("b")
        await store.put(done("c", b"x" * 900))
        assert await kept(store, "b", "c") == ["c"]

    run(work, memory(max_bytes=1000))


def test_a_response_that_is_too_large_is_not_kept() -> None:
    async def work(store: Store) -> None:
        lease = await store.create(new(), "me")
        await store.finish(lease, b"x" * 2000, [b"last"])
        assert await kept(store, "a") == []
        assert await read(store, "a") == []

    run(work, memory(max_bytes=1000))


def test_values_are_bounded_the_first_go_first() -> None:
    clock = Clock()

    async def work(store: Store) -> None:
        for n in range(5):
            await store.keep(f"{n}", b"x" * 299, 60)
        assert [await store.value(f"{n}") is not None for n in range(5)] == [False, False, True, True, True]
        clock.now += 100
        await store.take([(Limit("any", 1, 60), 1)])  # tidies up
        await store.keep("a", b"x" * 400, 60)
        await store.keep("b", b"x" * 400, 60)
        assert await store.value("a") is not None

    run(work, memory(clock, max_bytes=1000))


def test_counters_follow_the_clock() -> None:
    clock = Clock()
    clock.now = 1030.0

    async def work(store: Store) -> None:
        limit = Limit("requests", 2, 60)
        taken = await store.take([(limit, 2)])
        assert (taken.granted, taken.left, taken.resets, taken.time) == (True, (0,), (50.0,), 1030.0)
        clock.now = 1079.0
        assert not (await store.take([(limit, 1)])).granted
        clock.now = 1080.0
        assert (await store.take([(limit, 1)])).resets == (60.0,)

    run(work, memory(clock))
