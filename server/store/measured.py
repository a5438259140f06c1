"""Any store, with its operations timed and their failures counted.

Rule: what waits for news (`follow`, `changed`) is not timed, and a lost lease is an answer, not a failure.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, ParamSpec, TypeVar, cast

from prometheus_client import Counter, Histogram

from server.metrics import StoreMetrics
from server.store.base import LeaseLost, Store

P = ParamSpec("P")
T = TypeVar("T")

_WAITING = {"changed", "aclose"}
_TIMED = {name for name, method in inspect.getmembers(Store, inspect.iscoroutinefunction)} - _WAITING


def measured(store: Store, metrics: StoreMetrics) -> Store:
    """The same store, measured under the name of its kind: `memory`, `sqlite`, `redis`."""
    return cast("Store", _Measured(store, metrics))


class _Measured:
    def __init__(self, store: Store, metrics: StoreMetrics) -> None:
        self._store = store
        kind = type(store).__name__.removesuffix("Store").lower()
        for name in sorted(_TIMED):
            setattr(self, name, _timed(getattr(store, name), *metrics.operation(name, kind)))
        self.follow = _counted(store.follow, metrics.operation("follow", kind)[1])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def _timed(operation: Callable[P, Awaitable[T]], seconds: Histogram, errors: Counter) -> Callable[P, Awaitable[T]]:
    @functools.wraps(operation)
    async def timed(*arguments: P.args, **named: P.kwargs) -> T:
        began = time.perf_counter()
        try:
            return await operation(*arguments, **named)
        except LeaseLost:
            raise
        except Exception:
            errors.inc()
            raise
        finally:
            seconds.observe(time.perf_counter() - began)

    return timed


def _counted(
    follow: Callable[[str, int], AsyncGenerator[T, None]], errors: Counter
) -> Callable[[str, int], AsyncGenerator[T, None]]:
    @functools.wraps(follow)
    async def counted(id: str, after: int) -> AsyncGenerator[T, None]:
        try:
            async with aclosing(follow(id, after)) as batches:
                async for batch in batches:
                    yield batch
        except Exception:
            errors.inc()
            raise

    return counted
