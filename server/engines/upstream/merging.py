"""Several streams as one, in the order in which their items come. Rule: closing the one closes all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


async def merge(sources: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
    """The first failure is raised and ends the others."""
    queue: asyncio.Queue[T | _End] = asyncio.Queue()

    async def pump(source: AsyncGenerator[T, None]) -> None:
        error: Exception | None = None
        try:
            async with aclosing(source):
                async for item in source:
                    queue.put_nowait(item)
        except Exception as failure:
            error = failure
        queue.put_nowait(_End(error))

    pumps = [asyncio.create_task(pump(source)) for source in sources]
    unfinished = len(pumps)
    try:
        while unfinished:
            item = await queue.get()
            if not isinstance(item, _End):
                yield item
                continue
            unfinished -= 1
            if item.error is not None:
                raise item.error
    finally:
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


class _End:
    """A source has ended, with an error or without."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
