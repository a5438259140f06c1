"""Where solutions are looked for: any served model, in this process or behind a URL, through the decoders as served.

Rule: nothing is sampled here that a server would sample otherwise: engines, prompts and decoders are the server's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

from benchmarks.tasks import Problem
from decoders.core.messages import Sampling
from decoders.core.task import Model
from decoders.core.trace import Step
from decoders.prompts import Pack
from server.engines import open_engines
from server.model_options import ModelOptions
from training.play import POLICY, Play
from training.settings import CHECKPOINTS

T = TypeVar("T")
R = TypeVar("R")

REPLIES = frozenset({"solve", "reason", "refine", "aggregate", "propose", "coordinate", "correct"})
"""Roles of the steps that are a whole reply to the question."""


@asynccontextmanager
async def playing(options: ModelOptions, seed: int, temperature: float | None = None) -> AsyncGenerator[Play, None]:
    """Episodes on a model, sampled as its checkpoint wants it or at a temperature; its engine ends with them.

    Raises `ValueError`, `OSError` or `EngineUnavailable` where there is no such model.
    """
    engines = await open_engines(options)
    name, engine = next(iter(engines.items()))
    try:
        pack = Pack.load(options.pack or getattr(engine, "pack", None) or "plain")
        defaults = {k: v for k, v in dict(getattr(engine, "defaults", {})).items() if v is not None}
        if temperature is not None:
            defaults["temperature"] = temperature
        models = {POLICY: Model(engine, pack), name: Model(engine, pack)}
        yield Play(models, Sampling(**{"max_tokens": 1, **defaults}), 0, seed, training=False)
    finally:
        for opened in engines.values():
            await opened.aclose()


def options(model: str | None, upstream: Iterable[str] = (), pack: str | None = None) -> ModelOptions:
    """A checkpoint's folder, the name of a shipped one, or a model behind URLs."""
    hosts = list(upstream)
    shipped = CHECKPOINTS / (model or "")
    folder = str(shipped) if model and not hosts and shipped.is_dir() else model
    return ModelOptions(model=folder, upstream=list(hosts), pack=pack)


async def beside(work: Callable[[T], Awaitable[R]], of: Iterable[T], most: int) -> AsyncGenerator[R, None]:
    """What becomes of each, in their order, at most so many at a time."""
    permits = asyncio.Semaphore(most)

    async def one(item: T) -> R:
        async with permits:
            return await work(item)

    tasks = [asyncio.ensure_future(one(item)) for item in of]
    try:
        for task in tasks:
            yield await task
    finally:
        for task in tasks:
            task.cancel()


def winner(problem: Problem, steps: Iterable[Step]) -> Step | None:
    """The first reply of a run that the problem's checker takes."""
    replies = (step for step in steps if step.role in REPLIES and not step.prefix and step.completion.answered)
    return next((step for step in replies if problem.check(step.completion.answer)), None)
