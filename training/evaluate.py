"""Measures a policy with served decoders on held-out problems. Rule: sampled as the checkpoint wants it, or as told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from benchmarks import tasks
from benchmarks.tasks import Problem
from decoders.core.messages import Sampling
from decoders.core.task import Model
from decoders.environments.base import EnvironmentFactory
from training.play import Play, Played
from training.settings import Evaluation

NO_ENVIRONMENTS: Mapping[str, EnvironmentFactory] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Result:
    """One evaluation at one step: outcomes by problem, and the mean of all tokens generated for a problem."""

    name: str
    step: int
    right: dict[str, bool]
    tokens: float

    @property
    def accuracy(self) -> float:
        """Share of right answers, 0..1."""
        return sum(self.right.values()) / len(self.right)


async def evaluate(
    wanted: Evaluation,
    models: Mapping[str, Model],
    sampling: Sampling,
    step: int,
    environments: Mapping[str, EnvironmentFactory] = NO_ENVIRONMENTS,
) -> Result:
    """All problems side by side, each with a purse and a seed of its own that do not depend on the step."""
    if wanted.temperature is not None:
        sampling = replace(sampling, temperature=wanted.temperature)
    play = Play(models, sampling, 0, wanted.seed, wanted.name, training=False, environments=environments)
    problems = tasks.problems(wanted.task, wanted.level, wanted.split, wanted.problems)
    decoder = play.decoder(wanted.decoder)

    async def one(problem: Problem) -> tuple[bool, int]:
        played = await play.within(problem.id).decode(problem, decoder, wanted.max_completion_tokens)
        right = _covered(played) if wanted.oracle else played.correct
        return right, played.trace.usage().completion_tokens

    done = await asyncio.gather(*map(one, problems))
    right = {problem.id: correct for problem, (correct, _) in zip(problems, done, strict=True)}
    return Result(wanted.name, step, right, sum(tokens for _, tokens in done) / len(done))


def _covered(played: Played) -> bool:
    return any(played.problem.check(step.completion.answer) for step in played.steps("solve"))
