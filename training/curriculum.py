"""What changes while a run goes on: stages of difficulty and budget, horizons that grow, the rule for a budget.

Rule: everything here is a pure function of the step or of what was measured, so that a resumed run is where it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Schedule = Callable[[int], int]
"""From a step, 0 is the first, to a horizon or a budget."""


class Stage(BaseModel):
    """A part of the training: its problems, the tokens a completion may have, and how long it lasts."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)

    steps: int = Field(ge=1)
    """Batches of episodes."""
    levels: dict[str, float] = Field(min_length=1)
    """Levels of the task, each with its weight."""
    budget: int | Literal["rule"]
    """Tokens of a completion at most, or what `smallest_budget` says when the stage begins."""


def stage_at(stages: Sequence[Stage], step: int) -> int:
    """The place of the stage that a step is in; the last one goes on for ever."""
    for place, stage in enumerate(stages[:-1]):
        if step < stage.steps:
            return place
        step -= stage.steps
    return len(stages) - 1


def smallest_budget(success: Mapping[int, float], kappa: float, least: float = 0) -> int:
    """The smallest budget B >= `least` with J(2B) <= kappa J(B), from J at budgets each twice the one before.

    From there on doubling the budget gains less than the factor kappa (e3, equation 6.1). The ratio says nothing where
    J(B) = 0: such a budget is passed over. Without any that fits it is the largest whose double was measured.
    """
    budgets = sorted(budget for budget in success if 2 * budget in success)
    if not budgets:
        raise ValueError("the rule needs the success at a budget and at twice that budget")
    fits = (b for b in budgets if b >= least and success[b] > 0 and success[2 * b] <= kappa * success[b])
    return next(fits, budgets[-1])


def fixed(length: int) -> Schedule:
    """h(i) = length."""
    return lambda step: length


def linear(start: int, end: int, steps: int) -> Schedule:
    """From `start` to `end` in a straight line over `steps` steps, and `end` from there on."""
    return lambda step: round(start + (end - start) * min(step / steps, 1.0))


def additive(start: int, step: int, every: int, most: int) -> Schedule:
    """h(i) = min(most, start + step ⌊i / every⌋)."""
    return lambda at: min(most, start + step * (at // every))


def multiplicative(start: int, factor: float, every: int, most: int) -> Schedule:
    """h(i) = min(most, start factor^⌊i / every⌋), rounded; `factor` > 1."""
    reached = math.ceil(math.log(max(most / start, 1), factor))
    return lambda at: min(most, round(start * factor ** min(at // every, reached)))
