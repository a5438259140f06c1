"""Runs that change hands: a replica dies or stops at any moment, another one goes on, and no reader can tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from decoders.core.messages import Message
from decoders.core.task import Model
from decoders.prompts import Pack
from server.admission.limits import Limits
from server.admission.permit import Admission
from server.admission.queue import Queue
from server.api.desk import Desk
from server.background import Background
from server.connections import Connections
from server.engines.scripted import ScriptedEngine
from server.metrics import Metrics
from server.narrator import Piece
from server.recording import Recording
from server.report import Cancelled, Failed, Report
from server.service import Ask, Service
from server.store.base import Stored
from server.store.memory import MemoryStore
from server.webhooks import Webhooks
from server.worker import Work

ASK = Ask("base", (Message("user", "How many?"),), decoder="rc", options={"turns": 4}, seed=7)


class Plain:
    """A response that is a list of what was written."""

    def __init__(self, report: Report) -> None:
        self._report, self._lines = report, list[Any]()

    def begin(self, index: int) -> bytes:
        self._lines.append(["begin", index])
        return b""

    def piece(self, index: int, piece: Piece) -> bytes:
        self._lines.append([index, piece.kind, piece.text])
        return b""

    def finish(self, index: int, *, last: bool) -> bytes:
        self._lines.append(["finish", index, self._report.text(index), last])
        return b""

    def end(self) -> bytes:
        self._lines.append(["end", self._report.usage().completion_tokens])
        return b""

    def failure(self, error: Exception) -> bytes:
        self._lines.append(["failure", type(error).__name__, str(error)])
        return b""

    def body(self) -> bytes:
        return orjson.dumps({"lines": self._lines})


class Replica:
    """One of several servers over the same store."""

    def __init__(
        self,
        store: MemoryStore,
        ask: Ask = ASK,
        *,
        name: str = "a",
        delay: float = 0.0,
        webhooks: Webhooks | None = None,
    ) -> None:
        self.engine = ScriptedEngine(speak, model="base", token_delay=delay)
        self.connections = Connections(100)
        service = Service(
            {"base": Model(self.engine, Pack.load("plain"))}, decoder="direct", max_budget=10_000, effort="max"
        )
        desk = Desk(service, self.connections, Metrics(), 15.0, Admission(Limits(store), Queue()))
        self.background = Background(store, self.connections, desk.generation, name, webhooks)
        self.background.openers["plain"] = lambda stored: Work(ask, Plain)

    async def start(self, id: str) -> None:
        stored = Stored(id, b"", background=True, order=orjson.dumps({"path": "plain"}))
        await self.background.start(stored, self.background.worker(self.background.open(stored)))

    async def die(self) -> None:
        """Gone from one moment to the next: nothing is written any more, no lease is released."""
        tasks = [task for _, _, task in self.background._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def speak(prompt: Any, seed: int) -> str:
    return f"<think>I think about {len(str(prompt))} and {seed} in several words.</think>It is \\boxed{{{seed % 10}}}"


class Clock:
    """Time that passes when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def kept(clock: Callable[[], float]) -> MemoryStore:
    store = MemoryStore(limit=100, seconds=3600, max_bytes=10_000_000, lease_seconds=10, clock=clock)
    store.durable = True  # within one process it is, for these tests
    return store


async def ended(store: MemoryStore, id: str, choices: int = 1) -> tuple[Recording, list[tuple[int, str, str]]]:
    """A run's record, and its whole text by choice, kind and step."""
    recording = Recording(store.follow(id, -1), choices)
    texts: dict[tuple[int, str, str], str] = {}
    async for batch in recording.pieces():
        for index, piece in batch:
            place = (index, piece.kind, piece.key)
            texts[place] = texts.get(place, "") + piece.text
    return recording, [(*place[:2], text) for place, text in sorted(texts.items())]


async def reached(store: MemoryStore, read: Callable[[], Any], count: int) -> None:
    """Wait until so much can be read, at most until a run is over."""

    async def enough() -> bool:
        found = read()
        if not isinstance(found, Awaitable):
            return len(found) >= count
        run = await store.get("run")
        return len(await found) >= count or (run is not None and run.done)

    async with asyncio.timeout(10):
        while not await enough():  # noqa: ASYNC110
            await asyncio.sleep(0)


@asynccontextmanager
async def beating(*replicas: Replica) -> AsyncGenerator[None, None]:
    beats = [asyncio.create_task(replica.background.run()) for replica in replicas]
    yield
    for beat in beats:
        beat.cancel()
    await asyncio.gather(*beats, return_exceptions=True)


async def undisturbed(ask: Ask) -> tuple[Recording, list[tuple[int, str, str]], Any]:
    store = kept(Clock())
    replica = Replica(store, ask)
    await replica.start("run")
    recording, texts = await ended(store, "run", ask.n)
    found = await store.get("run")
    assert found is not None
    return recording, texts, orjson.loads(found.body)["lines"]


@pytest.fixture(autouse=True)
def eager_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every piece is written at once, so that there are many moments to die at."""
    monkeypatch.setattr("server.worker._Log.pace", 0.0)


DECODERS: list[tuple[str, dict[str, Any], int]] = [
    ("rc", {"turns": 4}, 1),
    ("rc", {"turns": 3}, 2),
    ("self_consistency", {"n": 4}, 1),
    ("rlad", {}, 1),
    ("best_of_n", {"n": 2, "inner": {"name": "rc", "turns": 2}}, 1),
    ("direct", {}, 3),
]


@pytest.mark.parametrize(("decoder", "options", "n"), DECODERS)
@pytest.mark.parametrize("entries", [0, 1, 5, 17, 40])
def test_a_replica_dies_and_another_goes_on(decoder: str, options: dict[str, Any], n: int, entries: int) -> None:
    ask = Ask("base", ASK.messages, decoder=decoder, options=options, seed=7, n=n)

    async def scenario() -> None:
        whole, texts, body = await undisturbed(ask)
        clock = Clock()
        store = kept(clock)
        first, second = Replica(store, ask, name="first", delay=1e-9), Replica(store, ask, name="second")
        await first.start("run")
        follower = asyncio.create_task(ended(store, "run", n))
        await reached(store, lambda: store.entries("run"), entries)
        await first.die()
        done_before = len(await store.steps("run"))
        clock.now += 11
        async with beating(second):
            seen, told = await asyncio.wait_for(follower, 10)
        assert told == texts
        assert [seen.text(i) for i in range(n)] == [whole.text(i) for i in range(n)]
        assert seen.usage() == whole.usage()
        assert seen.facts().spent == whole.facts().spent
        found = await store.get("run")
        assert found is not None
        assert found.done
        assert [line for line in orjson.loads(found.body)["lines"] if line[0] == "end"] == [body[-1]]
        steps = await store.steps("run")
        assert len(steps) == len({line.partition(b'"role"')[0] for line in steps}) == whole.usage().steps
        if done_before == whole.usage().steps:
            assert second.engine.calls == 0

    asyncio.run(scenario())


def test_a_replica_that_stops_finishes_its_step_and_hands_over() -> None:
    async def scenario() -> None:
        _, texts, _ = await undisturbed(ASK)
        store = kept(Clock())
        first, second = Replica(store, name="first", delay=1e-3), Replica(store, name="second")
        async with beating(first, second):
            await first.start("run")
            follower = asyncio.create_task(ended(store, "run"))
            await reached(store, lambda: store.entries("run"), 2)
            first.connections.draining = True
            _, told = await asyncio.wait_for(follower, 10)
        steps = await store.steps("run")
        assert told == texts
        assert first.engine.calls + second.engine.calls == len(steps) == 7
        assert first.engine.calls >= 1
        assert second.engine.calls >= 1

    asyncio.run(scenario())


def test_a_run_is_cancelled_by_whoever_holds_it() -> None:
    async def scenario() -> None:
        store = kept(Clock())
        first, second = Replica(store, name="first", delay=0.01), Replica(store, name="second")
        async with beating(first, second):
            await first.start("run")
            await reached(store, lambda: store.entries("run"), 3)
            await asyncio.wait_for(second.background.cancel("run"), 10)
        assert first.engine.open_calls == 0
        with pytest.raises(Cancelled):
            await ended(store, "run")
        found = await store.get("run")
        assert found is not None
        assert orjson.loads(found.body)["lines"][-1][:2] == ["failure", "Cancelled"]

    asyncio.run(scenario())


def test_a_deleted_run_ends_its_work() -> None:
    async def scenario() -> None:
        store = kept(Clock())
        replica = Replica(store, delay=0.01)
        async with beating(replica):
            await replica.start("run")
            await reached(store, lambda: store.entries("run"), 3)
            await store.delete("run")
            await reached(store, lambda: [None] * (1 - len(replica.background._running)), 1)
        assert replica.engine.open_calls == 0

    asyncio.run(scenario())


def test_a_run_that_nobody_can_take_up_says_so() -> None:
    async def scenario() -> None:
        clock = Clock()
        store = kept(clock)
        first, second = Replica(store, name="first", delay=0.01), Replica(store, name="second")
        await first.start("run")
        await reached(store, lambda: store.steps("run"), 1)
        await first.die()
        second.background.openers["plain"] = lambda stored: Work(Ask("base", (Message("user", "else"),), seed=7), Plain)
        clock.now += 11
        async with beating(second):
            with pytest.raises(Failed, match="recorded as reason"):
                await asyncio.wait_for(ended(store, "run"), 10)

    asyncio.run(scenario())


def test_a_log_behind_its_generation_is_written_in_larger_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        _, texts, body = await undisturbed(ASK)
        few = kept(Clock())
        monkeypatch.setattr("server.worker._Log.pace", 0.05)
        await Replica(few, delay=1e-3).start("run")
        seen, told = await ended(few, "run")
        assert told == texts
        assert len(await few.entries("run")) < seen.usage().completion_tokens / 4
        found = await few.get("run")
        assert found is not None
        assert orjson.loads(found.body)["lines"][-1] == body[-1]

    asyncio.run(scenario())
