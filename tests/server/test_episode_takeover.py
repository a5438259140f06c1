"""An agent whose replica dies: another one sends its actions again, and nobody who reads can tell."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from decoders.core.messages import Message
from decoders.core.task import Model
from decoders.core.trace import Act, read_record
from decoders.prompts import Pack
from server.admission.limits import Limits
from server.admission.permit import Admission
from server.admission.queue import Queue
from server.api.desk import Desk
from server.background import Background
from server.engines.scripted import ScriptedEngine
from server.environments import EnvironmentChoice, Environments
from server.metrics import Metrics
from server.report import Failed
from server.service import Ask, Service
from server.store.base import Stored
from server.store.memory import MemoryStore
from server.worker import Work
from tests.decoders.boxes import Boxes, Warehouse
from tests.decoders.test_tti import eager
from tests.server.test_takeover import Clock, Plain, Replica, beating, ended, kept, reached

ASK = Ask("base", (Message("user", "How many?"),), seed=7, environment=EnvironmentChoice("boxes", {"seed": 3}))


class Agent(Replica):
    """A replica with an environment."""

    def __init__(self, store: MemoryStore, made: Warehouse, *, name: str = "a", delay: float = 0.0) -> None:
        super().__init__(store, ASK, name=name)
        self.engine = ScriptedEngine(eager, model="base", token_delay=delay)
        service = Service(
            {"base": Model(self.engine, Pack.load("plain"))},
            decoder="direct",
            max_budget=10_000,
            effort="max",
            environments=Environments({"boxes": made}),
        )
        desk = Desk(service, self.connections, Metrics(), 15.0, Admission(Limits(store), Queue()))
        self.background = Background(store, self.connections, desk.generation, name)
        self.background.openers["plain"] = lambda stored: Work(ASK, Plain)

    async def begin(self) -> None:
        stored = Stored("run", b"", background=True, order=orjson.dumps({"path": "plain"}))
        await self.background.start(stored, self.background.worker(self.background.open(stored)))


async def undisturbed() -> tuple[Any, Any, list[str]]:
    store, made = kept(Clock()), Warehouse()
    await Agent(store, made).begin()
    recording, texts = await ended(store, "run")
    return recording, texts, made.logs[0]


@pytest.mark.parametrize("entries", [0, 1, 2, 4, 7, 11, 16, 30])
def test_another_replica_goes_on_with_the_episode(entries: int) -> None:
    async def scenario() -> None:
        whole, texts, log = await undisturbed()
        clock, first_made, second_made = Clock(), Warehouse(), Warehouse()
        store = kept(clock)
        first = Agent(store, first_made, name="first", delay=1e-9)
        second = Agent(store, second_made, name="second")
        await first.begin()
        follower = asyncio.create_task(ended(store, "run"))
        await reached(store, lambda: store.entries("run"), entries)
        await first.die()
        assert first_made.closed
        clock.now += 11
        async with beating(second):
            seen, told = await asyncio.wait_for(follower, 10)
        assert told == texts
        assert seen.facts().interaction == whole.facts().interaction
        assert seen.facts().interaction.reward == 1.0
        assert second_made.closed
        assert second_made.logs in ([], [log])
        records = [read_record(line.partition(b" ")[2]) for line in await store.steps("run")]
        acts = [record.action for record in records if isinstance(record, Act) and record.reached]
        assert acts[1:] == log[1:-1]
        assert len({record.key for record in records}) == len(records)

    asyncio.run(scenario())


def test_a_world_that_is_not_the_same_any_more_ends_the_run() -> None:
    async def scenario() -> None:
        other_seed = next(seed for seed in range(100) if Boxes(seed).place == 1)
        clock, other = Clock(), Warehouse(seed=other_seed)
        store = kept(clock)
        first, second = Agent(store, Warehouse(), name="first", delay=1e-3), Agent(store, other, name="second")
        await first.begin()
        await reached(store, lambda: store.steps("run"), 5)
        await first.die()
        clock.now += 11
        async with beating(second):
            with pytest.raises(Failed, match="as it did before"):
                await asyncio.wait_for(ended(store, "run"), 10)
        assert other.closed

    asyncio.run(scenario())
