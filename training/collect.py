"""The rows of a step, and what is to be told of them. Rule: every episode of a batch is played side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from benchmarks.tasks import Problem
from decoders.core.errors import BudgetExhausted
from training.play import Play
from training.recipe import Recipe
from training.rows import Row


async def collect(recipe: Recipe[Any], play: Play) -> list[Row]:
    """Play the recipe's problems of this step; its rows are those that the recipe trains then."""

    async def episode(problem: Problem, place: int) -> Sequence[Row]:
        try:
            return await recipe.episode(problem, play.within(str(place)))
        except BudgetExhausted:  # the purse held not even one answer: there is nothing to learn from
            return ()

    problems = recipe.problems(play.step)
    played = await asyncio.gather(*(episode(problem, i) for i, problem in enumerate(problems)))
    return list(recipe.replay([row for rows in played for row in rows]))


def told(recipe: Recipe[Any], rows: Sequence[Row], play: Play) -> dict[str, float]:
    """Mean reward and length of each kind of rows, what the step cost, and the recipe's own metrics."""
    found: dict[str, float] = {"compute": float(compute(rows, play.sampled))}
    for kind in sorted({row.kind for row in rows}):
        rewards = [row.reward for row in rows if row.kind == kind and row.reward is not None]
        if rewards:
            found[f"reward/{kind}"] = fmean(rewards)
        found[f"length/{kind}"] = fmean(len(row.completion) for row in rows if row.kind == kind)
    return found | dict(recipe.metrics())


def compute(rows: Sequence[Row], sampled: int) -> int:
    """Forward passes of one token: 1 for each that was read or written, 3 for each of a row with a gradient.

    2 N D for sampling and 6 N D for learning, divided by 2 N: the model of PrefixRL and of the scaling literature.
    """
    return sampled + 3 * sum(len(row.prompt) + len(row.completion) for row in rows if row.moves)
