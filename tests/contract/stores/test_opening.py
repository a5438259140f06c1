"""From the setting `store` to a store, and what the operator is told."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from server.settings import Settings
from server.store import open_store
from server.store.base import Store, Stored
from server.store.memory import MemoryStore
from tests.contract.stores.conftest import run
from tests.contract.stores.support import RedisServer


async def works(store: Store) -> None:
    await store.put(Stored("a", b"1", done=True))
    assert await store.ready()
    assert await store.get("a") == Stored("a", b"1", done=True)
    assert store.lease_seconds == 7


def test_memory_is_the_default() -> None:
    assert isinstance(open_store(Settings()), MemoryStore)
    run(works, open_store(Settings(lease_seconds=7)))


@pytest.mark.parametrize("scheme", ["sqlite:", "sqlite://"])
def test_a_file(tmp_path: Path, scheme: str) -> None:
    run(works, open_store(Settings(store=f"{scheme}{tmp_path}/runs.db", lease_seconds=7)))
    assert (tmp_path / "runs.db").exists()


def test_a_file_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(works, open_store(Settings(store="sqlite:runs.db", lease_seconds=7)))
    assert (tmp_path / "runs.db").exists()


def test_redis_with_a_prefix(redis: RedisServer) -> None:
    settings = Settings(store=redis.url, redis_prefix="mine:", lease_seconds=7)
    run(works, open_store(settings))

    async def elsewhere(store: Store) -> None:
        assert await store.get("a") is None

    run(elsewhere, open_store(Settings(store=redis.url, redis_prefix="other:")))


def test_redis_need_not_be_there_yet() -> None:
    async def work() -> None:
        store = open_store(Settings(store="redis://127.0.0.1:1/0"))
        assert not await store.ready()
        await store.aclose()

    asyncio.run(work())


@pytest.mark.parametrize("store", ["", "disk", "sqlite", "sqlite:", "sqlite://", "mysql://root:secret@db/0"])
def test_a_store_that_does_not_exist(store: str) -> None:
    with pytest.raises(ValueError, match="there is no store") as raised:
        open_store(Settings(store=store))
    assert "secret" not in str(raised.value)


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot be used: .*No such file"):
        open_store(Settings(store=f"sqlite:{tmp_path}/no/runs.db"))
    (tmp_path / "text.db").write_text("this is text and no database at all" * 100)
    with pytest.raises(ValueError, match="cannot be used: file is not a database"):
        open_store(Settings(store=f"sqlite:{tmp_path}/text.db"))


def test_a_bad_url_is_refused_without_its_password() -> None:
    with pytest.raises(ValueError, match="no URL of a Redis") as raised:
        open_store(Settings(store="redis://user:secret/word@host:port/0"))
    assert raised.value.__suppress_context__
    assert "secret" not in str(raised.value)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("server.store.redis")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(ValueError, match=r"pip install 'longthink\[redis\]'"):
        open_store(Settings(store="redis://127.0.0.1/0"))
