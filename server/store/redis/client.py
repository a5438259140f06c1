"""Calls to Redis that are answered or fail soon. Rule: a call is made again only if it cannot do its work twice.

Whatever would do it twice is a script with a token (`shared.lua`); so a reply that is lost costs a second call.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any, TypeVar

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import AuthenticationError, ReadOnlyError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from server.store.base import StoreUnavailable

T = TypeVar("T")

CONNECTIONS = 32
CONNECT_SECONDS = 1.0
REPLY_SECONDS = 2.0
CALL_SECONDS = 5.0
WAITS = (0.02, 0.1, 0.3, 0.6)
"""How long before each further attempt of a call."""


class Client:
    """One Redis behind a few connections."""

    def __init__(self, url: str, prefix: str) -> None:
        self.prefix = prefix
        options: dict[str, Any] = {
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_timeout": None,  # redis-py's own makes Python 3.11 lose cancellations (asyncio.wait_for)
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        }
        self._pool = ConnectionPool.from_url(url, **options)
        # who waits for a connection waits here: no silence of Redis, and the first come is the first served
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self.redis = Redis.from_pool(self._pool)
        self._password = str(self._pool.connection_kwargs.get("password") or "")
        self._shared = _read("shared")
        self._scripts: dict[str, AsyncScript] = {}

    async def script(self, name: str, *arguments: str | bytes | int) -> Any:
        """What a script answers, run once however often it must be sent."""
        if name not in self._scripts:
            self._scripts[name] = self.redis.register_script(self._shared + _read(name))
        script, token = self._scripts[name], uuid.uuid4().hex
        return await self.call(lambda: script(args=[self.prefix, token, *arguments]))

    async def command(self, *words: str | int) -> Any:
        """What a command answers that may be run twice."""
        return await self.call(lambda: self.redis.execute_command(*words))  # type: ignore[no-untyped-call]

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, tried again for a short time. Raises `StoreUnavailable`."""
        try:
            async with asyncio.timeout(CALL_SECONDS), self._turns:
                return await self._try(work)
        except (RedisError, OSError, TimeoutError) as error:
            raise self.failure(error) from error

    def failure(self, error: Exception) -> StoreUnavailable:
        """What has gone wrong, without the password."""
        text = f"{type(error).__name__}: {error}".rstrip(": ")
        return StoreUnavailable("Redis: " + (text.replace(self._password, "…") if self._password else text))

    async def _try(self, work: Callable[[], Awaitable[T]]) -> T:
        for wait in WAITS:
            try:
                async with asyncio.timeout(REPLY_SECONDS):
                    return await work()
            except AuthenticationError:
                raise
            except (TimeoutError, RedisTimeoutError, ReadOnlyError):
                # who is silent, or no longer the primary, is behind the other connections too
                await self._pool.disconnect(inuse_connections=False)
            except (RedisConnectionError, OSError):
                pass
            await asyncio.sleep(wait)
        return await work()

    async def aclose(self) -> None:
        """Close the connections."""
        await self.redis.aclose()
        await self._pool.aclose()


def _read(name: str) -> str:
    return files("server.store.redis").joinpath(f"{name}.lua").read_text()
