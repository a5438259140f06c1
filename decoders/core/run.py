"""One request's world: every call a decoder makes goes through its `Run`, which budgets, records and replays it.

Rule: a call reserves before it starts, settles however it ends, and is recorded before its result is returned. A
recorded call is returned without touching the engine, so every decoder resumes without a line of its own.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from decoders.core.budget import Budget
from decoders.core.errors import BudgetExhausted, EngineError, LongThinkError, ReplayMismatch, UnknownModel
from decoders.core.events import Delta, StepFinished, StepStarted
from decoders.core.messages import Prompt, Sampling
from decoders.core.outbox import Outbox
from decoders.core.recorder import Recorder
from decoders.core.task import Model, Task
from decoders.core.trace import Completion, Step, Trace
from decoders.prompts import Pack

T = TypeVar("T")


@dataclass(slots=True)
class _World:
    """What a run shares with its branches."""

    models: Mapping[str, Model]
    model: str
    sampling: Sampling
    seed: int
    recorded: Mapping[str, Step]
    trace: Trace
    outbox: Outbox = field(default_factory=Outbox)


class Run:
    """Hands a decoder tokens, and keeps its budget, its trace and its best answer so far.

    A step's key is its place in program order inside its scope, so two coroutines must not share one scope: use
    `sample` or `parallel`, which give each branch a scope of its own. That is what makes replay exact.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        model: str,
        budget: Budget,
        *,
        sampling: Sampling | None = None,
        seed: int = 0,
        recorded: Iterable[Step] = (),
    ) -> None:
        steps = {step.key: step for step in recorded}
        trace = Trace(model=model, seed=seed, budget=budget.tokens, pack="")
        self._world = _World(models, model, sampling or Sampling(max_tokens=budget.tokens), seed, steps, trace)
        self.budget = budget
        self.best: Completion | None = None
        self._parent: Run | None = None
        self._path: tuple[int, ...] = ()
        self._calls = 0
        self._owner: asyncio.Task[Any] | None = None
        self._rng: random.Random | None = None
        pack = self.pack()
        trace.pack = f"{pack.name}@{pack.version}"

    @property
    def trace(self) -> Trace:
        """The record of all steps so far, branches included."""
        return self._world.trace

    @property
    def outbox(self) -> Outbox:
        """Where the events go."""
        return self._world.outbox

    @property
    def rng(self) -> random.Random:
        """Randomness for a decoder's own choices: the same in every run of the same seed and scope."""
        if self._rng is None:
            self._rng = random.Random(f"{self._world.seed}/{self._path}")
        return self._rng

    def pack(self, model: str | None = None) -> Pack:
        """The template pack of a model (the request's by default)."""
        return self._served(model).pack

    def prompt(self, name: str, task: Task, *, model: str | None = None, **values: object) -> Prompt:
        """The conversation with its question put into template `name`."""
        rendered = self.pack(model).render(name, task.question, **values)
        return Prompt((*task.history, *rendered))

    def answer(self, completion: Completion) -> None:
        """Keep the best answer so far: it is the reply should the budget end now."""
        self.best = completion
        if self._parent is not None and self._parent.best is None:
            self._parent.answer(completion)

    async def generate(
        self,
        prompt: Prompt,
        *,
        role: str,
        max_tokens: int | None = None,
        final: bool = False,
        model: str | None = None,
        **sampling: Any,
    ) -> Completion:
        """One completion of at most `max_tokens` (all that is left by default).

        `final` marks the step whose answer part is the reply, so that it can be streamed as such. Further keywords
        replace fields of the request's sampling. Raises `BudgetExhausted` before anything is generated.
        """
        key = self._next_key()
        call = _Call(prompt, role, model, final, max_tokens, sampling, seed=self._seed(key))
        return (await self._call([key], call))[0]

    async def sample(
        self,
        prompt: Prompt,
        n: int,
        *,
        role: str,
        max_tokens: int | None = None,
        model: str | None = None,
        **sampling: Any,
    ) -> list[Completion]:
        """`n` completions of one prompt; fewer, but at least one, when the purse holds less than `n` tokens.

        Where the purse does not hold `n * max_tokens`, all completions get equal shares of it.
        """
        group = self._next_key()
        call = _Call(prompt, role, model, False, max_tokens, sampling, seed=self._seed(group))
        return await self._call([f"{group}.{i}" for i in range(n)], call)

    async def parallel(self, branches: Sequence[Callable[[Run], Awaitable[T]]]) -> list[T | None]:
        """Run branches side by side, each with its own scope and an equal share of the purse.

        A branch whose share ends before it returns gives None.
        """
        group = int(self._next_key().rpartition(".")[2])
        shares = self.budget.split(max(len(branches), 1))

        async def one(index: int) -> T | None:
            try:
                return await branches[index](self._branch((group, index), shares[index]))
            except BudgetExhausted:
                return None

        tasks = [asyncio.ensure_future(one(i)) for i in range(len(branches))]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _branch(self, place: tuple[int, int], budget: Budget) -> Run:
        branch = object.__new__(Run)
        branch._world, branch.budget, branch.best = self._world, budget, None
        branch._parent, branch._path, branch._calls, branch._owner = self, (*self._path, *place), 0, None
        branch._rng = None
        return branch

    def _next_key(self) -> str:
        task = asyncio.current_task()
        if self._owner is not None and self._owner is not task:
            raise RuntimeError("two coroutines call one Run: use run.sample or run.parallel for work side by side")
        self._owner = task
        self._calls += 1
        return ".".join(map(str, (*self._path, self._calls - 1)))

    def _seed(self, key: str) -> int:
        return int.from_bytes(hashlib.sha256(f"{self._world.seed}/{key}".encode()).digest()[:4])

    def _served(self, model: str | None) -> Model:
        name = model or self._world.model
        if name not in self._world.models:
            raise UnknownModel(f"no model named {name!r} is served here", param="model")
        return self._world.models[name]

    async def _call(self, keys: list[str], call: _Call) -> list[Completion]:
        want = min(call.max_tokens or self.budget.left, max(self.budget.left, 1))
        granted = self.budget.reserve(want * len(keys))
        keys = keys[:granted]
        cap = granted // len(keys)
        missing = [i for i, key in enumerate(keys) if key not in self._world.recorded]
        together = [missing] if len(missing) == len(keys) else [[i] for i in missing]
        recorders = [Recorder(key, call.role, final=call.final) for key in keys]
        done: dict[int, Completion] = {}
        try:
            for i in range(len(keys)):
                if i not in missing:
                    done[i] = await self._replay(keys[i], call)
            for group in together:
                for i in group:
                    await self.outbox.put(StepStarted(keys[i], call.role, call.final))
                await self._stream([recorders[i] for i in group], call, cap, call.seed + group[0])
                for i in group:
                    done[i] = recorders[i].completion()
        finally:
            used = sum(c.completion_tokens for i, c in done.items() if i not in missing)
            self.budget.settle(granted, used + sum(r.tokens for r in recorders))
        return [done[i] for i in range(len(keys))]

    async def _replay(self, key: str, call: _Call) -> Completion:
        step = self._world.recorded[key]
        if (step.role, step.prompt) != (call.role, call.prompt.digest()):
            raise ReplayMismatch(f"step {key} was recorded as {step.role} of prompt {step.prompt}")
        await self.outbox.put(StepStarted(key, step.role, step.final))
        done = step.completion
        for channel, text in (("reasoning", done.reasoning), ("answer", done.answer)):
            if text:
                tokens = done.answer_tokens if channel == "answer" else done.completion_tokens - done.answer_tokens
                await self.outbox.put(Delta(key, step.role, channel, text, tokens, step.final))  # type: ignore[arg-type]
        self.trace.steps.append(step)
        await self.outbox.put(StepFinished(key, step.role, done.completion_tokens, done.finish, replayed=True))
        return done

    async def _stream(self, recorders: list[Recorder], call: _Call, cap: int, seed: int) -> None:
        """Generate one completion a recorder, together in one engine call."""
        world = self._world
        sampling = dataclasses.replace(world.sampling, **call.sampling, max_tokens=cap, seed=seed, n=len(recorders))
        engine = self._served(call.model).engine
        started = time.monotonic()
        try:
            async with (
                asyncio.timeout_at(self.budget.deadline),
                aclosing(engine.generate(call.prompt, sampling)) as chunks,
            ):
                async for chunk in chunks:
                    recorder = recorders[chunk.index]
                    for delta in recorder.feed(chunk):
                        await self.outbox.put(delta)
                    if chunk.finish is not None:
                        await self._record(recorder, call, sampling, engine.model, time.monotonic() - started)
        except TimeoutError:
            for recorder in recorders:
                if recorder.finish is None:
                    await self._record(recorder, call, sampling, engine.model, time.monotonic() - started)
        except LongThinkError:
            raise
        except Exception as error:
            raise EngineError(f"{type(error).__name__}: {error}") from error
        if any(r.finish is None for r in recorders) and not self.budget.expired:
            raise EngineError("the engine ended a completion without a finish reason")

    async def _record(self, recorder: Recorder, call: _Call, sampling: Sampling, model: str, seconds: float) -> None:
        done = recorder.completion()
        step = Step(
            key=recorder.key,
            role=recorder.role,
            model=model,
            prompt=call.prompt.digest(),
            messages=tuple((m.role, m.content) for m in call.prompt.messages),
            prefix=call.prompt.prefix,
            sampling=_plain(sampling),
            final=recorder.final,
            completion=done,
            seconds=round(seconds, 6),
        )
        self.trace.steps.append(step)
        await self.outbox.put(StepFinished(step.key, step.role, done.completion_tokens, done.finish, replayed=False))


@dataclass(frozen=True, slots=True)
class _Call:
    """What one call asks for."""

    prompt: Prompt
    role: str
    model: str | None
    final: bool
    max_tokens: int | None
    sampling: Mapping[str, Any]
    seed: int


def _plain(sampling: Sampling) -> dict[str, Any]:
    """As JSON has it; `dataclasses.asdict` would copy deeply, for every step."""
    values = {field.name: getattr(sampling, field.name) for field in dataclasses.fields(sampling)}
    return {**values, "stop": list(sampling.stop)}
