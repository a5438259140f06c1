"""Countdown training rows: conversations as the decoders will hold them, rendered with the decoders' own prompts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.tasks.countdown import Problem, Step, random_problem, steps, units
from decoders.core.messages import Message
from decoders.prompts import Pack
from training.teachers import countdown as teacher

TURN_BUDGETS = (40, 130)
"""Words of a reasoning turn in training, at least and at most."""
DEPTHS = (1.0, 2.0, 2.0)
"""How often a search begins fresh, after one turn, after two."""


@dataclass(frozen=True, slots=True)
class Row:
    """A conversation whose assistant turns are trained; `cut` when the first of them was ended by its budget.

    The turns `muted`, counted from 0, are only there to be reacted to.
    """

    messages: tuple[Message, ...]
    cut: bool = False
    muted: frozenset[int] = frozenset()


class CountdownRows:
    """Draws rows of every skill: turns with their summaries, hints, and checks. Held-out problems never occur."""

    def __init__(self, pack: Pack, seed: int, depths: Sequence[float] = DEPTHS) -> None:
        self._pack = pack
        self._rng = random.Random(seed)
        self._depths = depths

    def turn(self) -> Row:
        """One RC turn: problem and state → reasoning within a budget → summary."""
        rng = self._rng
        problem = self._problem()
        kind = rng.random()
        if kind < 0.16:
            return self._after_claim(problem)
        if kind < 0.25:
            return self._hinted(problem)
        turns = rng.choices(range(1, teacher.HORIZON + 1), weights=self._depths)[0]
        start = teacher.random_start(problem, rng)
        if turns > 1 and rng.random() < 0.5:
            start = self._shortly_before(problem, turns)
        summary: list[str] = []
        for _ in range(turns - 1):
            turn = self._search(problem, start)
            summary = teacher.summarise(problem, turn, summary)
            if turn.solution:
                return self._row(problem, summary, teacher.after_check(problem, turn.solution, rng, self._budget()))
            if turn.cursor is not None:
                start = teacher.Cursor(turn.cursor.unit, turn.cursor.node + 1)
        return self._row(problem, summary, self._search(problem, start))

    def hint(self) -> Row:
        """A problem → the first step of one of its solutions."""
        problem = self._problem()
        return self._short("abstract", problem, ["start", "with", *teacher.say(self._solution(problem)[0])])

    def check(self) -> Row:
        """A problem and a claim → the claim redone, and yes or no. Half of the claims are right."""
        problem = self._problem()
        claim = self._claim(problem, wrong=0.5)
        words = teacher.check(problem, claim)
        return self._short("verify", problem, words, answer=" ".join(teacher.say_all(claim)))

    def _problem(self) -> Problem:
        size = 3 if self._rng.random() < 0.12 else 4
        while (problem := random_problem(self._rng, size)).split != "train":
            pass
        return problem

    def _solution(self, problem: Problem) -> tuple[Step, ...]:
        return self._rng.choice(teacher.solutions(problem))[1]

    def _claim(self, problem: Problem, wrong: float) -> tuple[Step, ...]:
        solution = self._solution(problem)
        return teacher.corrupt(problem, solution, self._rng) if self._rng.random() < wrong else solution

    def _budget(self) -> int:
        low, high = TURN_BUDGETS
        return self._rng.choice((self._rng.randint(low, high), 120))

    def _search(self, problem: Problem, start: teacher.Cursor) -> teacher.Turn:
        return teacher.search(problem, start, self._budget())

    def _shortly_before(self, problem: Problem, turns: int) -> teacher.Cursor:
        """A fresh start from which the solution comes up in about `turns` turns: a turn looks at about one unit."""
        space = units(problem.numbers)
        place = self._rng.choice(teacher.solutions(problem))[0].unit
        for _ in range(self._rng.randint(0, turns)):
            place = (place - 1) % len(space)
            while space[place].left is None:
                place = (place - 1) % len(space)
        return teacher.Cursor(place, 0)

    def _after_claim(self, problem: Problem) -> Row:
        claim = self._claim(problem, wrong=0.6)
        summary = ["answer", *teacher.say_all(claim)]
        turn = teacher.after_check(problem, claim, self._rng, self._budget())
        return self._row(problem, summary, turn)

    def _hinted(self, problem: Problem) -> Row:
        rng = self._rng
        step = self._solution(problem)[0]
        if rng.random() < 0.4:
            step = rng.choice([s for s in steps(problem.numbers) if s.result is not None])
        at = teacher.Cursor(0, 0)
        if len(problem.numbers) == 4:
            at = teacher.Cursor(next(i for i, u in enumerate(units(problem.numbers)) if u.path[0] == step), 0)
        turn = teacher.search(problem, at, self._budget())
        hint = " ".join(["start", "with", *teacher.say(step)])
        return self._conversation("solve_with_abstraction", problem, turn, [], abstraction=hint)

    def _row(self, problem: Problem, summary: list[str], turn: teacher.Turn) -> Row:
        return self._conversation("reason", problem, turn, summary, summary=" ".join(summary))

    def _conversation(self, name: str, problem: Problem, turn: teacher.Turn, before: list[str], **values: str) -> Row:
        draft = " ".join(turn.words)
        asked = self._pack.render(name, problem.question, **values)
        if name == "reason":
            asked = self._pack.render("summarise", problem.question, draft=draft, **values)
            summary = " ".join(teacher.summarise(problem, turn, before))
            return Row((*asked, Message("assistant", summary)), cut=not turn.complete)
        return Row((*asked, Message("assistant", draft)), cut=not turn.complete)

    def _short(self, name: str, problem: Problem, words: list[str], **values: str) -> Row:
        asked = self._pack.render(name, problem.question, **values)
        return Row((*asked, Message("assistant", " ".join(words))))
