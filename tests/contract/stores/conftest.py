"""The stores that keep the contract, as factories: every call opens another instance of the same store."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import Any, Protocol

import pytest

from server.store.base import Store
from server.store.memory import MemoryStore
from tests.contract.stores.support import MISSING, RedisServer, redis_is_missing, redis_server


class Open(Protocol):
    """Opens a store; instances of one factory share what they keep."""

    def __call__(self, *, seconds: float = 60.0, lease_seconds: float = 60.0) -> Store: ...


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Generator[RedisServer, None, None]:
    if redis_is_missing():
        pytest.skip(MISSING)
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


def memory_opener() -> Open:
    opened: list[MemoryStore] = []

    def open(*, seconds: float = 60.0, lease_seconds: float = 60.0) -> Store:
        if not opened:
            opened.append(MemoryStore(limit=1000, seconds=seconds, max_bytes=10**8, lease_seconds=lease_seconds))
        return opened[0]

    return open


def sqlite_opener(folder: Path) -> Open:
    from server.store.sqlite.store import SqliteStore

    return lambda *, seconds=60.0, lease_seconds=60.0: SqliteStore(
        folder / "runs.db", seconds=seconds, lease_seconds=lease_seconds
    )


def redis_opener(url: str) -> Open:
    from server.store.redis.store import RedisStore

    prefix = f"test-{uuid.uuid4().hex}:"
    return lambda *, seconds=60.0, lease_seconds=60.0: RedisStore(
        url, seconds=seconds, lease_seconds=lease_seconds, prefix=prefix
    )


def opener(kind: str, request: pytest.FixtureRequest) -> Open:
    if kind == "redis":
        return redis_opener(request.getfixturevalue("redis").url)
    return sqlite_opener(request.getfixturevalue("tmp_path")) if kind == "sqlite" else memory_opener()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def opened(request: pytest.FixtureRequest) -> Open:
    """Every store."""
    return opener(request.param, request)


@pytest.fixture(params=["sqlite", "redis"])
def shared(request: pytest.FixtureRequest) -> Open:
    """The stores that several instances share."""
    return opener(request.param, request)


def run(work: Callable[..., Awaitable[Any]], *stores: Store) -> Any:
    """What `work` returns for stores that are closed afterwards; nothing takes longer than a minute."""

    async def all_of_it() -> Any:
        try:
            async with asyncio.timeout(60):
                return await work(*stores)
        finally:
            for store in stores:
                await store.aclose()

    return asyncio.run(all_of_it())
