"""`longthink traces mine` and `collect`: problems that a model never solves by itself, and solutions of them.

Rule: what a search costs is counted whole, failures included, for it is part of what training on its results costs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from benchmarks.tasks import Problem
from benchmarks.tasks.mined import Place
from decoders.base import Decoder
from decoders.core.trace import Step
from training.guidance import NONE, attempts, rewards
from training.play import Play
from training.traces import Solution, place
from training.traces.sources import beside, winner

ROUND = 16
"""Samples of a problem at a time: one that is solved among them costs no more."""


class Hard(BaseModel):
    """A problem that was solved in none of `samples` tries, and what they cost."""

    model_config = ConfigDict(frozen=True)

    task: str
    level: str
    split: str
    of: int
    seed: int
    id: str
    question: str
    samples: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one problem: tokens that were read and written, and a line for the file, where there is one."""

    tokens: int
    line: BaseModel | None


async def mine(
    pool: Place, problems: Sequence[Problem], play: Play, samples: int, max_tokens: int, most: int
) -> AsyncGenerator[Found, None]:
    """The problems of a pool that `samples` plain samples do not solve."""

    async def one(problem: Problem) -> Found:
        tokens, tried, solved = 0, 0, False
        while tried < samples and not solved:
            count = min(ROUND, samples - tried)
            steps = await attempts(problem, NONE, play.within(f"{problem.id}/{tried}"), count, max_tokens)
            tokens += spent(steps)
            tried += count
            solved = 1 in rewards(problem, NONE, steps)
        line = None if solved else Hard(**place(problem, pool), samples=tried, tokens=tokens)
        return Found(tokens, line)

    async for found in beside(one, problems, most):
        yield found


async def collect(
    pairs: Sequence[tuple[Place, Problem]],
    play: Play,
    decoder: Decoder,
    options: dict[str, Any],
    *,
    budget: int,
    tries: int,
    most: int,
) -> AsyncGenerator[Found, None]:
    """A solution of each problem that a decoder finds in some tries of `budget` tokens each."""

    async def one(pair: tuple[Place, Problem]) -> Found:
        pool, problem = pair
        tokens = 0
        for number in range(tries):
            played = await play.within(f"{problem.id}/{number}").decode(problem, decoder, budget)
            steps = played.steps(*{step.role for step in played.trace.steps})
            tokens += spent(steps)
            if step := winner(problem, steps):
                done = step.completion
                line = Solution(
                    **place(problem, pool),
                    solution=done.answer.strip(),
                    reply=done.text,
                    token_ids=done.token_ids,
                    model=step.model,
                    decoder=options,
                    origin="collected",
                    tokens=tokens,
                )
                return Found(tokens, line)
        return Found(tokens, None)

    carried = 0
    async for found in beside(one, pairs, most):
        if isinstance(found.line, Solution):
            found = Found(found.tokens, found.line.model_copy(update={"tokens": found.tokens + carried}))
            carried = 0
        else:
            carried += found.tokens
        yield found


def spent(steps: Sequence[Step]) -> int:
    """Tokens that these steps have read and written."""
    return sum(step.completion.prompt_tokens + step.completion.completion_tokens for step in steps)
