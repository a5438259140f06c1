"""Residues: find the number that leaves given remainders. Problems, their difficulty, and which of them are held out.

Checking a number takes one table look-up a congruence; finding it by guesses takes about as many of them as the range
has numbers. So the level is the range: twice as large from one to the next. Every problem has exactly one solution, and
more than one without any of its congruences.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

from benchmarks.tasks._held_out import Split, split
from decoders.rewards.residues import Congruence, explain

SIZES = {"easy": (range(6, 13), 2), "medium": (range(14, 25), 2), "hard": (range(36, 61, 3), 3)}
"""Of each level: the largest numbers that a range may have, and how many congruences there are."""
LEVELS = tuple(SIZES)
MODULI = range(2, 10)
LARGEST = max(SIZES["hard"][0])


@dataclass(frozen=True, slots=True)
class Problem:
    """The range 1 to `largest`, and modulus and remainder of each congruence, the largest modulus first."""

    largest: int
    congruences: tuple[Congruence, ...]

    @property
    def question(self) -> str:
        """The problem as a person would ask it."""
        return f"Find x from 1 to {self.largest} with " + ", ".join(f"x mod {m} = {r}" for m, r in self.congruences)

    @property
    def system(self) -> str:
        """The congruences alone."""
        return ",".join(f"{m}:{r}" for m, r in self.congruences)

    @property
    def id(self) -> str:
        """A name that tells the whole problem."""
        return f"{self.largest}/{self.system}"

    @property
    def environment(self) -> None:
        """Thinking is enough."""

    @property
    def solutions(self) -> list[int]:
        """All numbers of the range with these remainders."""
        return _solutions(self.largest, self.congruences)

    @property
    def split(self) -> Split:
        """10 % of all systems are for testing and 10 % for development, by a hash; the range plays no part in it."""
        return split(self.system)

    def check(self, answer: str) -> bool:
        """Whether the answer solves the problem."""
        return explain(self.congruences, self.largest, answer) is None


def problems(wanted: str, split: Split, n: int, seed: int = 0) -> list[Problem]:
    """`n` different problems of one level and split, drawn evenly; more of them begin with the same ones."""
    found = list(pool(wanted, split))
    if len(found) < n:
        raise ValueError(f"there are fewer than {n} {wanted} {split} problems: found {len(found)}")
    random.Random(f"{wanted}/{split}/{seed}").shuffle(found)
    return found[:n]


@lru_cache(maxsize=9)
def pool(wanted: str, split: Split) -> tuple[Problem, ...]:
    """Every problem of a level and split."""
    ranges, count = SIZES[wanted]
    found = (p for largest in ranges for p in _posed(largest, count) if p.split == split)
    return tuple(found)


def _posed(largest: int, count: int) -> Iterator[Problem]:
    """The problems of a range: one solution, and more without any of the congruences."""
    for moduli in combinations(reversed(MODULI), count):
        systems = sorted({tuple((m, x % m) for m in moduli) for x in range(1, largest + 1)})
        for system in systems:
            fewer = combinations(system, count - 1)
            if len(_solutions(largest, system)) == 1 and all(len(_solutions(largest, part)) > 1 for part in fewer):
                yield Problem(largest, system)


def _solutions(largest: int, system: tuple[Congruence, ...]) -> list[int]:
    (modulus, remainder), *others = system
    fitting = range(remainder or modulus, largest + 1, modulus)
    return [x for x in fitting if all(x % m == r for m, r in others)]
