"""What every store does with values."""

from __future__ import annotations

import asyncio

from server.store.base import Store
from tests.contract.stores.conftest import Open, run
from tests.contract.stores.support import eventually


def test_a_value_is_kept_replaced_and_forgotten(opened: Open) -> None:
    async def work(store: Store) -> None:
        assert await store.value("k") is None
        assert await store.keep("k", b"\x00one", 60)
        assert await store.value("k") == b"\x00one"
        assert await store.keep("k", b"", 60)
        assert await store.value("k") == b""
        await store.forget("k")
        await store.forget("k")
        assert await store.value("k") is None

    run(work, opened())


def test_a_new_value_is_kept_by_exactly_one(opened: Open) -> None:
    async def work(store: Store) -> None:
        kept = await asyncio.gather(*(store.keep("k", f"{n}".encode(), 60, new=True) for n in range(32)))
        assert sum(kept) == 1
        assert await store.value("k") == f"{kept.index(True)}".encode()
        assert await store.keep("k", b"any", 60)
        assert not await store.keep("k", b"any", 60, new=True)

    run(work, opened())


def test_values_expire(opened: Open) -> None:
    async def work(store: Store) -> None:
        await store.keep("short", b"1", 0.05)
        await store.keep("long", b"2", 60)
        assert await eventually(lambda: store.keep("short", b"3", 60, new=True))
        assert await store.value("short") == b"3"
        await store.keep("short", b"4", 0.05)

        async def gone() -> bool:
            return await store.value("short") is None

        await eventually(gone)
        assert await store.value("long") == b"2"

    run(work, opened())
