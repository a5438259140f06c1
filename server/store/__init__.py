"""Where runs, responses, small values and counters are kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from server.store.base import Store

if TYPE_CHECKING:
    from server.settings import Settings


def open_store(settings: Settings) -> Store:
    """The store that the settings name. Raises `ValueError` with a message for the operator."""
    scheme, _, rest = settings.store.partition(":")
    if settings.store == "memory":
        return _memory(settings)
    if scheme == "sqlite" and rest.strip("/"):
        return _sqlite(settings, Path(rest.removeprefix("//")))
    if scheme in ("redis", "rediss"):
        return _redis(settings)
    # what stands behind the scheme may hold a password
    raise ValueError(f"store: there is no store {scheme!r} (memory, sqlite:PATH, redis://HOST:PORT/DB, rediss://…)")


def _memory(settings: Settings) -> Store:
    from server.store.memory import MemoryStore

    return MemoryStore(
        limit=settings.stored_responses,
        seconds=settings.stored_seconds,
        max_bytes=settings.stored_bytes,
        lease_seconds=settings.lease_seconds,
    )


def _sqlite(settings: Settings, path: Path) -> Store:
    import sqlite3

    from server.store.sqlite.store import SqliteStore

    try:
        return SqliteStore(path, seconds=settings.stored_seconds, lease_seconds=settings.lease_seconds)
    except (OSError, sqlite3.Error) as error:
        raise ValueError(f"store: {path} cannot be used: {error}") from error


def _redis(settings: Settings) -> Store:
    try:
        from server.store.redis.store import RedisStore
    except ModuleNotFoundError as error:
        raise ValueError("store: Redis needs a library: pip install 'longthink[redis]'") from error
    try:
        return RedisStore(
            settings.store,
            seconds=settings.stored_seconds,
            lease_seconds=settings.lease_seconds,
            prefix=settings.redis_prefix,
        )
    except ValueError:
        # its own message may repeat the password
        raise ValueError("store: this is no URL of a Redis (redis://USER:PASSWORD@HOST:PORT/DB)") from None
