"""Runs on the scripted engine, which is product code: nothing of ours is mocked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from decoders.base import Decoder
from decoders.core.budget import Budget
from decoders.core.events import Event
from decoders.core.messages import Message, Prompt, Sampling
from decoders.core.run import Run
from decoders.core.stream import events
from decoders.core.task import Model, Reply, Task
from decoders.core.trace import Step
from decoders.prompts import Pack
from server.engines.scripted import ScriptedEngine

TASK = Task((Message("user", "What is 2 + 2?"),))
Replies = Callable[[Prompt, int], str] | Sequence[str]


def start(
    engine: ScriptedEngine,
    tokens: int = 100_000,
    *,
    recorded: Iterable[Step] = (),
    seed: int = 0,
    pack: str = "plain",
    reply: Reply | None = None,
) -> Run:
    model = {engine.model: Model(engine, Pack.load(pack))}
    sampling = Sampling(tokens)
    return Run(model, engine.model, Budget(tokens), sampling=sampling, reply=reply, seed=seed, recorded=recorded)


async def collect(decoder: Decoder, run: Run, task: Task = TASK) -> list[Event]:
    return [event async for event in events(decoder, task, run)]


def decode(decoder: Decoder, run: Run, task: Task = TASK) -> list[Event]:
    return asyncio.run(collect(decoder, run, task))
