"""The expert that shows a small model how sequences go on: abstractions, solutions under them, and solutions without.

An abstraction says a kind of rule and the next steps that it would take: `grow + 3 + 5`. The expert reads it off the
last numbers, where a rule of every kind seems to hold, and only sometimes looks whether the numbers before agree: most
abstractions do not fit. Its solutions follow whatever they are told. Without an abstraction it shows easy problems
alone, so that for all others a strategy has to be said before it can be followed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from benchmarks.tasks.sequences import (
    KINDS,
    LARGEST,
    LEVELS,
    WANTED,
    Kind,
    Problem,
    Rule,
    fitting,
    places,
    random_problem,
    read,
)
from decoders.core.messages import Message
from decoders.prompts import Pack
from training import tiny
from training.teachers.rows import Row

WORDS = (*tiny.WORDS, "continue", *KINDS)
"""Those of Countdown keep their ids; these take the place of reserved ones."""
OUTSIDE = "x"
"""Said instead of a number below 0 or above 40, where a solution then ends."""


def say(rule: Rule) -> str:
    """`triple + 8 - 9 - 2`, as an abstraction."""
    return " ".join([rule.kind, *(f"{'-' if step < 0 else '+'} {abs(step)}" for step in rule.steps)])


def solution(problem: Problem, rule: Rule) -> str:
    """The answer of one who believes in the rule."""
    numbers = rule.follow(problem.numbers, WANTED)
    return " ".join([*map(str, numbers), *([] if len(numbers) == WANTED else [OUTSIDE])])


def guesses(problem: Problem) -> list[Rule]:
    """What the last numbers suggest, one rule of each kind."""
    rules = [read(kind, problem.numbers, places(kind, problem.numbers)[-1]) for kind in KINDS]
    return [rule for rule in rules if max(map(abs, rule.steps)) <= LARGEST]


class SequenceRows:
    """Draws rows of the three skills. Held-out problems never occur.

    `insight` is the chance that the expert has looked at all numbers before it says a rule.
    """

    def __init__(self, pack: Pack, seed: int, insight: float, kinds: tuple[Kind, ...] = KINDS) -> None:
        self._pack, self._insight, self._kinds = pack, insight, kinds
        self._rng = random.Random(seed)

    def abstract(self) -> Row:
        """A problem → an abstraction."""
        problem = self._problem()
        knows = self._rng.random() < self._insight
        rule = self._rng.choice(fitting(problem.numbers) if knows else guesses(problem))
        return self._row("abstract", problem, say(rule))

    def guided(self) -> Row:
        """A problem and any abstraction → the answer that follows from it."""
        problem = self._problem()
        rule = self._rng.choice(guesses(problem))
        return self._row("solve_with_abstraction", problem, solution(problem, rule), abstraction=say(rule))

    def bare(self) -> Row:
        """An easy problem → its answer."""
        problem = self._problem(LEVELS["easy"])
        return self._row("solve", problem, " ".join(map(str, problem.wanted)))

    def _problem(self, kinds: Sequence[Kind] | None = None) -> Problem:
        while (problem := random_problem(self._rng, kinds or self._kinds)).split != "train":
            pass
        return problem

    def _row(self, name: str, problem: Problem, text: str, **values: str) -> Row:
        asked = self._pack.render(name, problem.question, **values)
        return Row((*asked, Message("assistant", text)))
