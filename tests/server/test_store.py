"""The store of responses in memory: what it keeps, what it forgets, and how a log is followed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from server.store.base import ResponseStore, Stored
from server.store.memory import MemoryStore


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def store(clock: Clock | None = None, **limits: Any) -> ResponseStore:
    return MemoryStore(**{"limit": 10, "seconds": 60.0, "max_bytes": 10_000, **limits}, clock=clock or Clock())


def response(id: str, *, done: bool = True, body: bytes = b"{}") -> Stored:
    return Stored(id, body, input=(), background=True, done=done)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


async def kept(found: ResponseStore, *ids: str) -> list[str]:
    return [id for id in ids if await found.get(id) is not None]


def test_the_oldest_that_are_done_go_first() -> None:
    async def work() -> None:
        found = store(limit=2)
        await found.put(response("running", done=False))
        for id in ("a", "b", "c"):
            await found.put(response(id))
        assert await kept(found, "running", "a", "b", "c") == ["running", "c"]

    run(work())


def test_they_are_forgotten_some_time_after_their_end() -> None:
    async def work() -> None:
        clock = Clock()
        found = store(clock, seconds=60.0)
        await found.put(response("a", done=False))
        clock.now = 100.0
        assert await kept(found, "a") == ["a"]
        await found.put(response("a"))
        clock.now = 159.0
        assert await kept(found, "a") == ["a"]
        clock.now = 161.0
        assert await kept(found, "a") == []

    run(work())


def test_bytes_are_bounded_events_included() -> None:
    async def work() -> None:
        found = store(max_bytes=1000)
        await found.put(response("a", body=b"x" * 300))
        await found.put(response("b", done=False))
        await found.append("b", [b"y" * 600])
        assert await kept(found, "a", "b") == ["a", "b"]
        await found.append("b", [b"y" * 600])
        assert await kept(found, "a", "b") == ["b"]
        await found.delete("b")
        await found.put(response("c", body=b"x" * 900))
        assert await kept(found, "b", "c") == ["c"]

    run(work())


def test_every_follower_reads_the_whole_log_from_where_it_wants() -> None:
    async def work() -> None:
        found = store()
        await found.put(response("a", done=False))
        await found.append("a", [b"0", b"1"])

        async def read(after: int) -> list[bytes]:
            return [event async for events in found.follow("a", after) for event in events]

        readers = [asyncio.create_task(read(after)) for after in (-1, 0, 1, 3, 9)]
        for event in (b"2", b"3", b"4"):
            await asyncio.sleep(0)
            await found.append("a", [event])
        await found.put(response("a"))
        log = [b"0", b"1", b"2", b"3", b"4"]
        assert await asyncio.gather(*readers) == [log, log[1:], log[2:], log[4:], []]
        assert await read(2) == log[3:]

    run(work())


def test_whoever_follows_what_is_deleted_comes_to_an_end() -> None:
    async def work() -> None:
        found = store()
        await found.put(response("a", done=False))

        async def read() -> list[Any]:
            return [events async for events in found.follow("a", -1)]

        reader = asyncio.create_task(read())
        await asyncio.sleep(0)
        assert await found.delete("a")
        assert not await found.delete("a")
        assert await reader == []
        await found.append("a", [b"late"])
        assert await read() == []

    run(work())
