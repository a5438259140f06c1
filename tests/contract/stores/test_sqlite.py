"""What only the store in a file does."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from server.store.base import LeaseLost, Limit, Store, StoreUnavailable
from server.store.sqlite import store as module
from server.store.sqlite import tables
from server.store.sqlite.store import SqliteStore
from tests.contract.stores.conftest import run
from tests.contract.stores.support import eventually
from tests.contract.stores.test_runs import FULL, new


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_nobody_else_may_read_the_file(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await store.put(FULL)
        files = list(tmp_path.iterdir())  # noqa: ASYNC240
        assert {file.name for file in files} == {"runs.db", "runs.db-wal", "runs.db-shm"}
        assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)

    run(work, SqliteStore(tmp_path / "runs.db", seconds=60))


def test_everything_is_there_again_after_a_restart(tmp_path: Path) -> None:
    limit = Limit("tokens", 10, 86_400)

    async def before(store: Store) -> None:
        await store.put(FULL)
        await store.append(await store.create(new(), "me"), [b"0"])
        await store.keep("k", b"v", 60)
        assert (await store.take([(limit, 4)])).granted

    async def after(store: Store) -> None:
        assert await store.get("full") == FULL
        assert await store.entries("a") == [b"0"]
        assert await store.value("k") == b"v"
        assert (await store.take([(limit, 0)])).left == (6,)

    run(before, SqliteStore(tmp_path / "runs.db", seconds=60))
    run(after, SqliteStore(tmp_path / "runs.db", seconds=60))


def test_what_has_expired_is_deleted_little_by_little(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "runs.db"

    async def work(store: Store) -> None:
        for n in range(tables.SWEPT + 5):
            lease = await store.create(new(f"{n}"), "me")
            await store.record(lease, [b"step"])
            await store.finish(lease, b"end", [b"entry"])
        await store.create(new("runs"), "me")
        await store.keep("short", b"1", 5)
        await store.keep("long", b"1", 1000)
        await store.take([(Limit("minute", 5, 60), 1), (Limit("day", 5, 86_400), 1)])
        clock.now += 100
        assert await store.get("0") is None
        with closing(sqlite3.connect(path)) as connection:
            assert tables.sweep(connection, clock.now)
            assert rows(connection, "runs") == 6
            assert not tables.sweep(connection, clock.now)
            connection.commit()
            counts = {"runs": 1, "questions": 1, "leases": 1, "entries": 0, "steps": 0, "kept": 1, "counts": 1}
            assert {table: rows(connection, table) for table in counts} == counts

    run(work, SqliteStore(path, seconds=60, clock=clock))


def rows(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def test_who_is_refused_spoils_nothing_for_those_who_are_committed_with_them(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        lease, lost = await store.create(new(), "me"), await store.create(new("b"), "me")
        await store.release(lost)
        appends = [store.append(lost if n % 3 else lease, [f"{n}".encode()]) for n in range(60)]
        outcomes = await asyncio.gather(*appends, return_exceptions=True)
        assert [isinstance(outcome, LeaseLost) for outcome in outcomes] == [n % 3 > 0 for n in range(60)]
        assert await store.entries("a") == [f"{n}".encode() for n in range(0, 60, 3)]
        assert await store.entries("b") == []

    run(work, SqliteStore(tmp_path / "runs.db", seconds=60))


def test_a_file_that_stays_locked_is_unavailable_and_heals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.05)
    path = tmp_path / "runs.db"

    async def work(store: Store) -> None:
        lease = await store.create(new(), "me")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            outcomes = await asyncio.gather(*(store.append(lease, [b"0"]) for _ in range(3)), return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 3
            assert not await store.ready()
            assert await store.entries("a") == []
        await eventually(store.ready)
        await store.append(lease, [b"1"])
        assert await store.entries("a") == [b"1"]

    run(work, SqliteStore(path, seconds=60))


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    async def work() -> None:
        store = SqliteStore(tmp_path / "runs.db", seconds=60)
        await store.put(FULL)
        await store.aclose()
        with pytest.raises(StoreUnavailable):
            await store.get("full")
        assert not await store.ready()

    asyncio.run(work())
