"""The stores that keep the contract, as factories: every call opens another instance of the same store."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from server.store.base import Store
from server.store.memory import MemoryStore
from tests.contract.stores.support import MISSING, RedisServer, redis_is_missing, redis_server


@dataclass
class Open:
    """Opens a store; instances that one `Open` has opened share what they keep."""

    kind: str
    where: str = ""
    prefix: str = field(default_factory=lambda: f"test-{uuid.uuid4().hex}:")
    memory: MemoryStore | None = None

    def __call__(self, *, seconds: float = 60.0, lease_seconds: float = 60.0) -> Store:
        if self.kind == "redis":
            from server.store.redis.store import RedisStore

            return RedisStore(self.where, seconds=seconds, lease_seconds=lease_seconds, prefix=self.prefix)
        if self.kind == "sqlite":
            from server.store.sqlite.store import SqliteStore

            return SqliteStore(Path(self.where), seconds=seconds, lease_seconds=lease_seconds)
        if self.memory is None:
            self.memory = MemoryStore(limit=1000, seconds=seconds, max_bytes=10**8, lease_seconds=lease_seconds)
        return self.memory


def opener(kind: str, request: pytest.FixtureRequest) -> Open:
    where = {"redis": lambda: request.getfixturevalue("redis").url, "memory": str}
    return Open(kind, where.get(kind, lambda: str(request.getfixturevalue("tmp_path") / "runs.db"))())


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Generator[RedisServer, None, None]:
    """One for all tests that leave it alone."""
    if redis_is_missing():
        pytest.skip(MISSING)
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


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
