"""How a call of a run is carried out: budgeted, generated or replayed, recorded, told.

Rule: a call reserves before it starts, settles however it ends, and is recorded before its result is returned.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from decoders.core.budget import Budget
from decoders.core.engine import Chunk
from decoders.core.errors import EngineError, LongThinkError, ReplayMismatch, UnknownModel
from decoders.core.events import Delta, StepFinished, StepStarted
from decoders.core.memory import Memory
from decoders.core.messages import Message, Prompt, Sampling, ToolCall
from decoders.core.outbox import Outbox
from decoders.core.recorder import Recorder
from decoders.core.task import Model, Reply
from decoders.core.trace import Completion, Record, Step, Trace

ATTEMPTS = 3
"""How often a reply is drawn until it has the form that was asked for."""

Until = Callable[[Chunk], bool]
"""Sees every chunk of a completion; True ends it there, which counts as `length`."""

Journal = Callable[[Record], Awaitable[None]]
"""Takes every finished step and act before its result is returned; what it has taken is not done again."""


@dataclass(frozen=True, slots=True)
class Call:
    """What one call asks for: completions of one prompt. `reply` says that each of them may become the reply.

    With `confidence` the confidence of each token is recorded, over so many alternatives. Only a call for a single
    completion may have an `until`: ending one would end the others.
    """

    prompt: Prompt
    role: str
    model: str | None
    max_tokens: int | None
    final: bool = False
    reply: bool = False
    sampling: Mapping[str, Any] = field(default_factory=dict)
    confidence: int = 0
    until: Until | None = None


@dataclass(slots=True)
class World:
    """What a run shares with its branches."""

    models: Mapping[str, Model]
    model: str
    sampling: Sampling
    seed: int
    recorded: Mapping[str, Record]
    trace: Trace
    reply: Reply
    journal: Journal | None = None
    memory: Memory | None = None
    outbox: Outbox = field(default_factory=Outbox)

    def served(self, model: str | None) -> Model:
        """The model of this name, the request's own without one. Raises `UnknownModel`."""
        name = model or self.model
        if name not in self.models:
            raise UnknownModel(f"no model named {name!r} is served here", param="model")
        return self.models[name]

    async def call(self, call: Call, keys: list[str], group: str, budget: Budget) -> list[Completion]:
        """One completion for each key, fewer when the budget holds fewer tokens than there are keys.

        Where the engine cannot keep to the caller's response format, completions that miss it are drawn again while the
        budget lasts, each attempt as a step of its own.
        """
        done = await self._attempt(call, keys, group, budget)
        for again in range(1, self._attempts(call)):
            missed = [i for i, completion in enumerate(done) if not completion.valid and completion.finish != "length"]
            if not missed or budget.left < 1 or budget.expired:
                break
            found = await self._attempt(call, [f"{keys[i]}~{again}" for i in missed], f"{group}~{again}", budget)
            for i, completion in zip(missed, found, strict=False):
                done[i] = completion
        return done

    def _attempts(self, call: Call) -> int:
        if not (call.reply and (self.reply.structure or self.reply.tools)):
            return 1
        constrained = "structure" in self.served(call.model).engine.features
        greedy = not self._sampling(call, 1, 0, 1).temperature
        watched = call.until is not None  # it has seen the first attempt, and would judge a second one by that
        return 1 if constrained or greedy or watched else ATTEMPTS

    async def _attempt(self, call: Call, keys: list[str], group: str, budget: Budget) -> list[Completion]:
        want = min(call.max_tokens or budget.left, max(budget.left, 1))
        granted = budget.reserve(want * len(keys))
        keys = keys[:granted]
        missing = [i for i, key in enumerate(keys) if key not in self.recorded]
        together = [missing] if len(missing) == len(keys) else [[i] for i in missing]
        recorders = [self._recorder(key, call) for key in keys]
        done: dict[int, Completion] = {}
        try:
            for i, key in enumerate(keys):
                if i not in missing:
                    done[i] = await self._replay(key, call)
            for indices in together:
                for i in indices:
                    await self.outbox.put(StepStarted(keys[i], call.role, call.final))
                seed = derived_seed(self.seed, group) + indices[0]
                sampling = self._sampling(call, granted // len(keys), seed, len(indices))
                found = await self._generate([recorders[i] for i in indices], call, sampling, budget)
                done.update(zip(indices, found, strict=True))
        finally:
            used = sum(c.completion_tokens for i, c in done.items() if i not in missing)
            budget.settle(granted, used + sum(r.tokens for r in recorders))
        return [done[i] for i in range(len(keys))]

    def _recorder(self, key: str, call: Call) -> Recorder:
        shown = self.reply.sampling.get("logprobs") if call.reply else None
        return Recorder(
            key,
            call.role,
            final=call.final,
            raw=call.reply and self.reply.raw,
            prefix=call.prompt.prefix,
            confidence=call.confidence,
            shown=shown if isinstance(shown, int) else None,
        )

    def _sampling(self, call: Call, cap: int, seed: int, n: int) -> Sampling:
        wanted = dict(self.reply.sampling) if call.reply else {}
        if "structure" in wanted and "structure" not in self.served(call.model).engine.features:
            del wanted["structure"]
        if call.confidence:
            wanted["logprobs"] = max(call.confidence, int(str(wanted.get("logprobs") or 0)))
        return dataclasses.replace(
            self.sampling, **{**wanted, **call.sampling, "max_tokens": cap, "seed": seed, "n": n}
        )

    async def _replay(self, key: str, call: Call) -> Completion:
        step = self.recorded[key]
        if not isinstance(step, Step):
            raise ReplayMismatch(f"{key} was recorded as an action")
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

    async def _generate(
        self, recorders: list[Recorder], call: Call, sampling: Sampling, budget: Budget
    ) -> list[Completion]:
        """One completion a recorder, together in one engine call."""
        engine = self.served(call.model).engine
        started = time.monotonic()
        done: dict[str, Completion] = {}
        try:
            async with (
                asyncio.timeout_at(budget.deadline),
                aclosing(engine.generate(call.prompt, sampling)) as chunks,
            ):
                async for chunk in chunks:
                    cut = chunk.finish is None and call.until is not None and call.until(chunk)
                    recorder = recorders[chunk.index]
                    for delta in recorder.feed(dataclasses.replace(chunk, finish="length") if cut else chunk):
                        await self.outbox.put(delta)
                    if recorder.finish is not None:
                        seconds = time.monotonic() - started
                        done[recorder.key] = await self._record(recorder, call, sampling, engine.model, seconds)
                    if cut:
                        break
        except TimeoutError:
            for recorder in recorders:
                if recorder.key not in done:
                    seconds = time.monotonic() - started
                    done[recorder.key] = await self._record(recorder, call, sampling, engine.model, seconds)
        except LongThinkError:
            raise
        except Exception as error:
            raise EngineError(f"{type(error).__name__}: {error}") from error
        if len(done) < len(recorders):
            raise EngineError("the engine ended a completion without a finish reason")
        return [done[recorder.key] for recorder in recorders]

    async def _record(
        self, recorder: Recorder, call: Call, sampling: Sampling, model: str, seconds: float
    ) -> Completion:
        done = recorder.completion(one_call=self.reply.one_call)
        if call.reply and not self.reply.takes(done.answer, done.tool_calls):
            done = done.model_copy(update={"valid": False})
        step = Step(
            key=recorder.key,
            role=recorder.role,
            model=model,
            prompt=call.prompt.digest(),
            messages=tuple((m.role, m.content) for m in call.prompt.messages),
            prefix=call.prompt.prefix,
            tools=call.prompt.tools,
            called=called(call.prompt.messages),
            sampling=_plain(sampling),
            final=recorder.final,
            completion=done,
            seconds=round(seconds, 6),
        )
        if self.journal is not None:
            await self.journal(step)
        self.trace.steps.append(step)
        await self.outbox.put(StepFinished(step.key, step.role, done.completion_tokens, done.finish, replayed=False))
        return done


def derived_seed(seed: int, key: str) -> int:
    """The seed of the step at `key`: 32 bits, so that the `seed + i` of one group stays clear of the others."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{key}".encode()).digest()[:4])


def called(messages: Sequence[Message]) -> dict[int, tuple[ToolCall, ...] | str]:
    """What of the messages is about calls of tools, by place."""
    about = {i: m.tool_calls or m.tool_call_id or "" for i, m in enumerate(messages)}
    return {i: found for i, found in about.items() if found}


def _plain(sampling: Sampling) -> dict[str, Any]:
    """As JSON has it; `dataclasses.asdict` would copy deeply, for every step."""
    values = {field.name: getattr(sampling, field.name) for field in dataclasses.fields(sampling)}
    return {**values, "stop": list(sampling.stop)}
