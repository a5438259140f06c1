"""What has a label is forgotten together, and nothing is kept under it afterwards."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from server.store.base import LeaseLost, Purged, Store, Stored
from tests.contract.stores.conftest import Open, run


def stored(id: str, *labels: str) -> Stored:
    return Stored(id, b"{}", labels=labels)


def test_runs_and_values_of_a_label_go_and_all_others_stay(opened: Open) -> None:
    async def work(store: Store) -> None:
        await store.put(stored("done", "a", "b"))
        lease = await store.create(stored("running", "a"), "me")
        finished = await store.create(stored("finished", "a"), "me")
        await store.record(finished, [b"0 step"])
        await store.finish(finished, b"end", [b"x"])
        await store.put(stored("other", "b"))
        await store.put(stored("nobody"))
        await store.keep("mine", b"1", 60, labels=["a"])
        await store.keep("theirs", b"2", 60, labels=["b"])
        found = await store.get("done")
        assert found is not None
        assert sorted(found.labels) == ["a", "b"]

        assert await store.purge("a") == 4
        assert [await store.get(id) for id in ("done", "running", "finished")] == [None, None, None]
        assert await store.entries("finished") == await store.steps("finished") == []
        assert await store.value("mine") is None
        assert await store.value("theirs") == b"2"
        assert await store.get("other") == stored("other", "b").__class__("other", b"{}", done=True, labels=("b",))
        assert await store.get("nobody") is not None
        with pytest.raises(LeaseLost):
            await store.append(lease, [b"late"])
        assert await store.purge("a") == 0

    run(work, opened())


def test_who_comes_late_is_refused(opened: Open) -> None:
    async def work(store: Store) -> None:
        await store.purge("gone")
        with pytest.raises(Purged):
            await store.put(stored("late", "here", "gone"))
        with pytest.raises(Purged):
            await store.create(stored("late", "gone"), "me")
        with pytest.raises(Purged):
            await store.keep("late", b"1", 60, labels=["gone"])
        assert await store.get("late") is None
        assert await store.value("late") is None
        assert await store.purge("here") == 0  # what was refused left nothing

    run(work, opened())


def test_deleted_and_replaced_ones_are_not_counted(opened: Open) -> None:
    async def work(store: Store) -> None:
        await store.put(stored("one", "a"))
        await store.delete("one")
        await store.keep("value", b"1", 60, labels=["a"])
        await store.keep("value", b"2", 60)
        await store.put(stored("two", "a"))
        await store.put(stored("two"))
        await store.purge("a")
        assert await store.get("two") is not None

    run(work, opened())


def test_a_reader_of_a_purged_run_is_let_go(opened: Open) -> None:
    async def work(store: Store) -> None:
        lease = await store.create(stored("running", "a"), "me")
        await store.append(lease, [b"first"])

        async def read() -> list[bytes]:
            found: list[bytes] = []
            async with aclosing(store.follow("running", -1)) as batches:
                async for batch in batches:
                    found += batch
                    begun.set()
            return found

        begun = asyncio.Event()
        reader = asyncio.create_task(read())
        await begun.wait()
        await store.purge("a")
        assert await reader == [b"first"]

    run(work, opened())
