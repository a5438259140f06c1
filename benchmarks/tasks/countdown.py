"""Countdown: make a target from three or four numbers. Problems, their difficulty, and which of them are held out.

Numbers are 1..12, targets 1..60; the rules are those of `decoders.rewards.countdown`. The search space of a problem is
cut into *units*: what is left once all but three numbers are combined. The level counts units, not luck: a `hard`
problem has four different numbers and exactly one unit (of 17 on average) that holds a solution.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, combinations_with_replacement

from benchmarks.tasks._held_out import Split, split
from decoders.rewards.countdown import LARGEST, OPERATORS, combine, explain

LEVELS = ("easy", "medium", "hard")
NUMBERS = range(1, 13)
TARGETS = range(1, LARGEST + 1)

Numbers = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """`a operator b = result`; `left` are the numbers afterwards, largest first. `result` is None if not allowed."""

    a: int
    operator: str
    b: int
    result: int | None
    left: Numbers


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of the search space: the steps taken so far and the three numbers left (None after a forbidden step)."""

    path: tuple[Step, ...]
    left: Numbers | None


@dataclass(frozen=True, slots=True)
class Problem:
    """Numbers, largest first, and the target."""

    numbers: Numbers
    target: int

    @property
    def question(self) -> str:
        """The problem as a person would ask it."""
        return f"Use {' '.join(map(str, self.numbers))} to make {self.target}"

    @property
    def id(self) -> str:
        """A name that tells the whole problem."""
        return f"{'-'.join(map(str, self.numbers))}={self.target}"

    @property
    def environment(self) -> None:
        """Thinking is enough."""

    @property
    def split(self) -> Split:
        """10 % of all problems are for testing and 10 % for development, by a hash of the problem alone."""
        return split(self.id)

    def check(self, answer: str) -> bool:
        """Whether the answer solves the problem by the rules."""
        return explain(self.numbers, self.target, answer) is None


@lru_cache(maxsize=100_000)
def steps(numbers: Numbers) -> tuple[Step, ...]:
    """All first steps on `numbers` (largest first), equal pairs once, in the canonical order."""
    found: list[Step] = []
    for (i, a), (j, b) in combinations(enumerate(numbers), 2):
        if (a, b) in {(s.a, s.b) for s in found}:
            continue
        rest = [n for k, n in enumerate(numbers) if k not in (i, j)]
        for operator in OPERATORS:
            result = combine(a, operator, b)
            left = tuple(sorted([*rest, result], reverse=True)) if result is not None else ()
            found.append(Step(a, operator, b, result, left))
    return tuple(found)


@lru_cache(maxsize=20_000)
def units(numbers: Numbers) -> tuple[Unit, ...]:
    """The search space in the canonical order."""
    return tuple(_units((), numbers))


def _units(path: tuple[Step, ...], numbers: Numbers) -> Iterator[Unit]:
    if len(numbers) == 3:
        yield Unit(path, numbers)
        return
    for step in steps(numbers):
        if step.result is None:
            yield Unit((*path, step), None)
        else:
            yield from _units((*path, step), step.left)


@lru_cache(maxsize=50_000)
def reachable(left: Numbers) -> frozenset[int]:
    """Every value that three numbers can make."""
    return frozenset(
        last.result for node in steps(left) if node.result is not None for last in steps(node.left) if last.result
    )


def solution_units(problem: Problem) -> int:
    """How many units of the search space hold a solution."""
    return sum(1 for unit in units(problem.numbers) if unit.left and problem.target in reachable(unit.left))


def level(problem: Problem) -> str | None:
    """`easy`: three numbers; `medium`: four; `hard`: four different ones, one unit with a solution.

    None for a problem that cannot be solved.
    """
    found = solution_units(problem)
    if not found:
        return None
    if len(problem.numbers) == 3:
        return "easy"
    return "hard" if found == 1 and len(set(problem.numbers)) == 4 else "medium"


def random_problem(rng: random.Random, size: int) -> Problem:
    """A problem of `size` numbers whose target some sequence of allowed steps makes."""
    while True:
        numbers = tuple(sorted((rng.choice(NUMBERS) for _ in range(size)), reverse=True))
        left = numbers
        while len(left) > 1:
            allowed = [s for s in steps(left) if s.result is not None]
            if not allowed:
                break
            left = rng.choice(allowed).left
        if len(left) == 1 and left[0] in TARGETS and left[0] not in numbers:
            return Problem(numbers, left[0])


def problems(wanted: str, split: Split, n: int, seed: int = 0) -> list[Problem]:
    """`n` different problems of one level and split, drawn evenly; more of them begin with the same ones."""
    found = [problem for problem in _all(3 if wanted == "easy" else 4, split) if level(problem) == wanted]
    if len(found) < n:
        raise ValueError(f"there are fewer than {n} {wanted} {split} problems: found {len(found)}")
    random.Random(f"{wanted}/{split}/{seed}").shuffle(found)
    return found[:n]


@lru_cache(maxsize=6)
def _all(size: int, split: Split) -> tuple[Problem, ...]:
    """Every problem of a split that can be solved and whose target is not one of its numbers."""
    found = []
    for numbers in combinations_with_replacement(reversed(NUMBERS), size):
        targets = frozenset[int]().union(*(reachable(unit.left) for unit in units(numbers) if unit.left))
        found += [Problem(numbers, target) for target in sorted(targets - set(numbers))]
    return tuple(problem for problem in found if problem.split == split)
