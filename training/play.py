"""How a recipe plays an episode: a served decoder, on the policy that is being trained, recorded in a trace.

Rule: prompts, budgets and checkers are those of serving; a recipe never renders a prompt of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from benchmarks.tasks import Problem
from decoders import build
from decoders.base import Completion, Decoder
from decoders.core.budget import Budget
from decoders.core.engine import Engine, Tokenizing
from decoders.core.episode import Opener
from decoders.core.errors import BudgetExhausted, EngineError
from decoders.core.messages import Message, Prompt, Sampling
from decoders.core.rows import asked
from decoders.core.rows import rows as episode_rows
from decoders.core.run import Run
from decoders.core.stream import batches
from decoders.core.task import Model, Task
from decoders.core.trace import Step, Trace
from decoders.environments.base import EnvironmentFactory
from training.rows import Row

T = TypeVar("T")

POLICY = "policy"
"""The name under which decoders reach the policy; a recipe with several policies has more of them."""


@dataclass(frozen=True, slots=True)
class Played:
    """An episode that has ended: its run, the completion that holds the answer, and whether the checker takes it."""

    problem: Problem
    run: Run
    answer: Completion | None
    correct: bool

    @property
    def trace(self) -> Trace:
        """What was generated, step by step."""
        return self.run.trace

    def steps(self, *roles: str) -> list[Step]:
        """The steps of these roles in the order of the decoder's program."""
        return sorted((s for s in self.trace.steps if s.role in roles), key=lambda s: _place(s.key))


@dataclass(frozen=True, slots=True)
class Play:
    """The policy at one step of training. `key` names an episode within the step: seeds come from it."""

    models: Mapping[str, Model]
    sampling: Sampling
    step: int
    seed: int
    key: str = ""
    training: bool = True
    environments: Mapping[str, EnvironmentFactory] = field(default_factory=dict)
    """What the problems' episodes are opened from, by name."""
    runs: list[Run] = field(default_factory=list)
    """In training every run of the step, of all its episodes."""

    @property
    def sampled(self) -> int:
        """Tokens that the models have read and written at this step, prompts included."""
        used = [run.trace.usage() for run in self.runs]
        return sum(usage.prompt_tokens + usage.completion_tokens for usage in used)

    def within(self, name: str) -> Play:
        """The same with a longer key, for several episodes on one problem."""
        return replace(self, key=f"{self.key}/{name}")

    def task(self, problem: Problem) -> Task:
        """The problem as a user would ask it."""
        return Task((Message("user", problem.question),))

    def run(self, budget: int, *, environment: Opener | None = None, sampling: Sampling | None = None) -> Run:
        """A run on the policy with a purse of `budget` tokens."""
        run = Run(
            self.models,
            POLICY,
            Budget(budget),
            sampling=replace(sampling or self.sampling, max_tokens=budget),
            seed=_seed(self.seed, self.step, self.key),
            environment=environment,
        )
        if self.training:  # who only measures would keep what it measures
            self.runs.append(run)
        return run

    def decoder(self, options: Mapping[str, Any] | str) -> Decoder:
        """A decoder as a request would name it, with the template pack's defaults."""
        given = {} if isinstance(options, str) else dict(options)
        name = options if isinstance(options, str) else str(given.pop("name"))
        return build(name, given, self.models[POLICY].pack)

    async def decode(
        self, problem: Problem, decoder: Decoder, budget: int, *, environment: Opener | None = None
    ) -> Played:
        """Answer a problem with a decoder, as the server would, in the problem's environment where it has one."""
        run = self.run(budget, environment=environment or self.opener(problem))
        async for _ in batches(decoder, self.task(problem), run):
            pass
        answer = run.trace.answer
        return Played(problem, run, answer, answer is not None and problem.check(answer.answer))

    def opener(self, problem: Problem) -> Opener | None:
        """What opens the problem's episode, None where it has none; `ValueError` where there is no factory for it."""
        if not isinstance(wanted := problem.environment, dict):
            return None
        name, reset = str(wanted["name"]), wanted.get("reset")
        if name not in self.environments:
            raise ValueError(f"{problem.id} needs the environment {name!r}: see the setting `environments`")
        factory = self.environments[name]
        return lambda: factory(reset if isinstance(reset, dict) else {})

    async def drive(self, run: Run, body: Callable[[Run], Coroutine[Any, Any, T]]) -> T | None:
        """What `body` returns, a recipe's own calls of `run`; None where the purse ended before."""
        driver = asyncio.ensure_future(body(run))
        driver.add_done_callback(lambda _: run.outbox.close())
        while await run.outbox.drain():
            pass
        try:
            return await driver
        except BudgetExhausted:
            return None

    async def row(self, step: Step, advantage: float | tuple[float, ...], reward: float | None, kind: str = "") -> Row:
        """The row of one recorded step: all that the model saw before it, and what it wrote."""
        prompt = await self.tokenize(asked(step), step.model)
        ids = step.completion.token_ids
        logprobs = tuple(chosen.logprob for chosen in step.completion.logprobs) or None
        return Row(prompt, tuple(ids), advantage, None, logprobs, reward, kind or step.role, step.model or POLICY)

    async def rows(
        self, steps: Sequence[Step], advantages: Sequence[float], rewards: Sequence[float], kind: str = ""
    ) -> list[Row]:
        """A row for each step."""
        triples = zip(steps, advantages, rewards, strict=True)
        return [await self.row(step, advantage, reward, kind) for step, advantage, reward in triples]

    async def episode(self, played: Played, advantage: float, reward: float | None, kind: str = "act") -> list[Row]:
        """The rows of an agent's episode; what it was shown between its replies has the mask 0."""
        steps = {step.key: step.completion for step in played.trace.steps}
        found = []
        for row in await episode_rows(played.trace, self._tokenizing(played.trace.model)):
            start = row.mask.index(1)
            told = [chosen.logprob for key in row.steps for chosen in steps[key].logprobs]
            spread = iter(told)
            logprobs = tuple(next(spread) if own else 0.0 for own in row.mask[start:]) if told else None
            found.append(Row(row.ids[:start], row.ids[start:], advantage, row.mask[start:], logprobs, reward, kind))
        return found

    async def tokenize(self, prompt: Prompt, model: str | None = None) -> tuple[int, ...]:
        """The ids of a prompt, as the policy reads it."""
        return await self._tokenizing(model).tokenize(prompt)

    async def text(self, ids: Sequence[int], model: str | None = None) -> str:
        """The text of these ids."""
        return await self._tokenizing(model).detokenize(ids) if ids else ""

    def _tokenizing(self, model: str | None) -> Tokenizing:
        engine: Engine = self.models[model or POLICY].engine
        if not isinstance(engine, Tokenizing):
            raise EngineError(f"{engine.model} does not tell token ids, so nothing can be trained on it")
        return engine


def grade(problem: Problem, completion: Completion, wrong: float) -> float:
    """1 for an answer that is right, `wrong` for another one, 0 where it came to none."""
    if not completion.answered:
        return 0.0
    return 1.0 if problem.check(completion.answer) else wrong


def _seed(*parts: object) -> int:
    """A seed of 63 bits that depends on nothing but the parts."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8]) >> 1


def _place(key: str) -> tuple[int, ...]:
    return tuple(int(part) for part in key.partition("~")[0].split("."))
