"""Sequences: continue six numbers whose rule is hidden. Rules, problems, their difficulty, and which are held out.

Numbers are 0..40. A place of a sequence is a few neighbouring numbers, and at every place rules of all kinds seem to
hold; only one of them holds at all places. Rule: shown numbers that two rules continue differently are no problem.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Literal

from benchmarks.tasks._held_out import Split, split
from decoders.rewards.sequences import continues

Kind = Literal["constant", "pair", "triple", "grow", "swing", "skip"]
KINDS: tuple[Kind, ...] = ("constant", "pair", "triple", "grow", "swing", "skip")
LEVELS: dict[str, tuple[Kind, ...]] = {
    "easy": ("constant", "pair"),
    "medium": ("pair", "grow", "skip"),
    "hard": ("triple", "grow", "swing", "skip"),
}
"""The kinds of rules of a level, drawn evenly."""
LARGEST = 40
SHOWN, WANTED = 6, 4
"""Numbers of a question and of an answer."""
_PERIOD = {"constant": 1, "pair": 2, "triple": 3}


@dataclass(frozen=True, slots=True)
class Rule:
    """How a sequence goes on: `steps` are those that come next.

    `constant`, `pair` and `triple` repeat their steps; `grow` (s, t) makes each step t - s more than the one before;
    `swing` (s, t) does so with its size, and its sign turns; `skip` (s, t) adds them in turn to the number before the
    last.
    """

    kind: Kind
    steps: tuple[int, ...]

    def step(self, place: int) -> int:
        """The step that leads to the number `place` from now."""
        if self.kind in ("grow", "swing"):
            first, second = self.steps
            turned = -1 if self.kind == "swing" else 1
            return int((first + place * (second * turned - first)) * turned**place)
        return self.steps[place % len(self.steps)]

    def follow(self, numbers: Sequence[int], n: int) -> tuple[int, ...]:
        """The next `n` numbers; fewer where one would be below 0 or above 40."""
        known = list(numbers)
        for place in range(n):
            following = known[-2 if self.kind == "skip" else -1] + self.step(place)
            if not 0 <= following <= LARGEST:
                break
            known.append(following)
        return tuple(known[len(numbers) :])


def places(kind: Kind, numbers: Sequence[int]) -> range:
    """Where a rule of this kind can be read off."""
    taken = _PERIOD.get(kind, 3 if kind == "skip" else 2)
    return range(len(numbers) - taken)


def read(kind: Kind, numbers: Sequence[int], place: int) -> Rule:
    """The only rule of this kind that holds at `place`, told from the end of `numbers` on."""
    count = len(numbers)
    steps = [b - a for a, b in pairwise(numbers)]
    ahead = count - 1 - place
    if period := _PERIOD.get(kind):
        return Rule(kind, tuple(steps[place + (ahead + i) % period] for i in range(period)))
    if kind == "skip":
        jumps = [numbers[place + i + 2] - numbers[place + i] for i in range(2)]
        return Rule(kind, tuple(jumps[(count - 2 - place + i) % 2] for i in range(2)))
    here = Rule(kind, (steps[place], steps[place + 1]))
    return Rule(kind, (here.step(ahead), here.step(ahead + 1)))


def fitting(numbers: Sequence[int]) -> list[Rule]:
    """Every rule that holds at all places."""
    found = [{read(kind, numbers, place) for place in places(kind, numbers)} for kind in KINDS]
    return [rule for rules in found if len(rules) == 1 for rule in rules]


@dataclass(frozen=True, slots=True)
class Problem:
    """The numbers shown and the numbers wanted."""

    numbers: tuple[int, ...]
    wanted: tuple[int, ...]

    @property
    def question(self) -> str:
        """The problem as a person would ask it."""
        return f"Continue {' '.join(map(str, self.numbers))}"

    @property
    def id(self) -> str:
        """A name that tells the whole problem."""
        return "-".join(map(str, self.numbers))

    @property
    def environment(self) -> None:
        """Thinking is enough."""

    @property
    def split(self) -> Split:
        """10 % of all problems are for testing and 10 % for development, by a hash of the problem alone."""
        return split(self.id)

    def check(self, answer: str) -> bool:
        """Whether the answer is the wanted numbers."""
        return continues(self.wanted, answer)


def named(name: str) -> Problem:
    """The problem of an id."""
    numbers = tuple(map(int, name.split("-")))
    return Problem(numbers, fitting(numbers)[0].follow(numbers, WANTED))


def random_problem(rng: random.Random, kinds: Sequence[Kind]) -> Problem:
    """A problem with a rule of one of these kinds, each as likely as the others."""
    kind = rng.choice(kinds)
    while True:
        start = [rng.randint(0, LARGEST) for _ in range(2 if kind == "skip" else 1)]
        numbers = (*start, *_rule(kind, rng).follow(start, SHOWN + WANTED - len(start)))
        if len(numbers) == SHOWN + WANTED and (problem := _problem(numbers, kind)):
            return problem


def _rule(kind: Kind, rng: random.Random) -> Rule:
    """Any rule of a kind. Its steps are different, so that it is of no simpler kind."""
    if kind in ("grow", "swing"):
        first, more = rng.randint(-7, 7), rng.choice((-3, -2, -1, 1, 2, 3))
        return Rule(kind, (first, first + more if kind == "grow" else -first - more))
    return Rule(kind, tuple(rng.sample([*range(-7, 0), *range(1, 8)], _PERIOD.get(kind, 2))))


def _problem(numbers: tuple[int, ...], kind: Kind) -> Problem | None:
    """None where another rule goes on differently, or a rule of a kind that comes before this one holds too."""
    problem = Problem(numbers[:SHOWN], numbers[SHOWN:])
    rules = fitting(problem.numbers)
    plain = not rules or rules[0].kind == kind
    agree = all(rule.follow(problem.numbers, WANTED) == problem.wanted for rule in rules)
    return problem if plain and agree else None


def problems(wanted: str, split: Split, n: int, seed: int = 0) -> list[Problem]:
    """`n` different problems of one level and split; more of them begin with the same ones."""
    return list(islice(_drawn(wanted, split, seed), n))


def _drawn(wanted: str, split: Split, seed: int) -> Iterator[Problem]:
    """Different problems without end."""
    rng, seen = random.Random(f"{wanted}/{split}/{seed}"), set[Problem]()
    while True:
        problem = random_problem(rng, LEVELS[wanted])
        if problem.split == split and problem not in seen:
            seen.add(problem)
            yield problem
