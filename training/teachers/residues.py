"""The expert that shows how to find a number by its remainders: guess, check, guess again, and give up much too early.

An attempt is a number and its remainders, each with `ok` or `no`, up to the first that is wrong: `try 17 7 3 ok 5 2 no`
(17 mod 7 is 3 as wanted, 17 mod 5 is 2 and not as wanted). After a wrong one it gives up with a constant chance and
answers with a guess, though it could go on: what is learned is a sure check and a short chain, so that there is
something to lengthen. Rule: held-out problems never occur.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.tasks import residues
from benchmarks.tasks.residues import LARGEST, LEVELS, Problem
from decoders.core.messages import Message
from decoders.core.thinking import CLOSE as END_THINK
from decoders.core.thinking import OPEN as THINK
from decoders.prompts import Pack
from training.teachers.rows import Row

WORDS = (
    *map(str, range(LARGEST + 1)),
    *"= ,".split(),
    *"user assistant system find x from to with mod try ok no yes".split(),
)
"""Every word of the problems and of the expert."""


TURN_WORDS = (*WORDS, *". : progress up summarise hint".split())
"""And those of turns and their summaries."""


def attempt(problem: Problem, number: int) -> list[str]:
    """Guess and check: the remainders up to the first that is wrong, `yes` behind the last where none is."""
    words = ["try", str(number)]
    for modulus, remainder in problem.congruences:
        right = number % modulus == remainder
        words += [str(modulus), str(number % modulus), "ok" if right else "no"]
        if not right:
            return words
    return [*words, "yes"]


@dataclass(frozen=True, slots=True)
class Habits:
    """How guesses are chosen: any number of the range, but for two chances at each attempt."""

    fitting: float = 0.0
    """To take a number that has the first remainder."""
    rambling: float = 0.0
    """To try the number again that was just found wrong."""

    def guess(self, problem: Problem, rng: random.Random, last: int | None) -> int:
        """The next number."""
        if last is not None and self.rambling and rng.random() < self.rambling:
            return last
        if self.fitting and rng.random() < self.fitting:
            modulus, remainder = problem.congruences[0]
            return rng.choice(range(remainder or modulus, problem.largest + 1, modulus))
        return rng.randint(1, problem.largest)


NONE = Habits()


def chain(problem: Problem, rng: random.Random, give_up: float, habits: Habits = NONE) -> list[str]:
    """One attempt after the other; the chance to give up comes after each that was wrong."""
    words, guess = [THINK], None
    while True:
        guess = habits.guess(problem, rng, guess)
        words += attempt(problem, guess)
        if words[-1] == "yes":
            return [*words, END_THINK, str(guess)]
        if rng.random() < give_up:
            return [*words, END_THINK, str(rng.randint(1, problem.largest))]


class ResidueRows:
    """Draws chains on training problems of a level drawn by weight."""

    def __init__(self, pack: Pack, seed: int, levels: Mapping[str, float] | None = None, habits: Habits = NONE) -> None:
        self._pack, self._habits = pack, habits
        self._rng = random.Random(seed)
        self._levels = levels or dict.fromkeys(LEVELS, 1.0)
        self._pools = {level: residues.pool(level, "train") for level in self._levels}

    def short(self, give_up: float) -> Row:
        """What is to be imitated: a problem and a chain that mostly ends too early."""
        problem = self.problem()
        return self._row(problem, chain(problem, self._rng, give_up, self._habits))

    def long(self, words: int) -> Row:
        """A chain that never gives up, cut at so many words: checks a long way behind the problem."""
        problem = self.problem()
        whole = chain(problem, self._rng, 0.0, self._habits)
        return self._row(problem, whole[:words], cut=len(whole) > words)

    def problem(self) -> Problem:
        """A problem of the training split."""
        level = self._rng.choices(list(self._levels), list(self._levels.values()))[0]
        return self._rng.choice(self._pools[level])

    def _row(self, problem: Problem, words: list[str], cut: bool = False) -> Row:
        asked = self._pack.render("solve", problem.question)
        return Row((*asked, Message("assistant", " ".join(words))), cut=cut)


class TurnRows:
    """Draws turns as the decoder `rc` asks for them, each with its summary.

    A turn tries one number after the other, and its summary says up to which. A turn that was given one goes on from
    there with the chance `heeded`; else it begins with 1 again. Hints are always followed: they bring in numbers far
    from 1, whose remainders have to be learned too.
    """

    def __init__(self, pack: Pack, seed: int, longest: int, heeded: float) -> None:
        self._pack, self._longest, self._heeded = pack, longest, heeded
        self._rng = random.Random(seed)
        self._pools = [residues.pool(level, "train") for level in LEVELS]

    def turn(self) -> Row:
        """One turn, from a fresh start or from a summary that says any number below the solution."""
        rng, problem = self._rng, self._problem()
        done = rng.randrange(problem.solutions[0]) if rng.random() < 0.5 else 0
        begun = done + 1 if rng.random() < self._heeded else 1
        words, tried, cut = self._search(problem, begun)
        summary = f"up to {done}" if done else ""
        asked = self._pack.render("summarise", problem.question, summary=summary, draft=" ".join(words))
        return Row((*asked, Message("assistant", f"up to {max(done, tried)}")), cut=cut)

    def hinted(self) -> Row:
        """One turn that begins where it is told, somewhere below the solution."""
        problem = self._problem()
        begun = self._rng.randint(1, problem.solutions[0])
        words, _, cut = self._search(problem, begun)
        asked = self._pack.render("solve_with_abstraction", problem.question, abstraction=f"from {begun}")
        return Row((*asked, Message("assistant", " ".join(words))), cut=cut)

    def _problem(self) -> Problem:
        return self._rng.choice(self._rng.choice(self._pools))

    def _search(self, problem: Problem, begun: int) -> tuple[list[str], int, bool]:
        """The words of a turn, the last number it has ruled out, and whether it was cut."""
        words, wrong = sweep(problem, begun, self._rng.randint(SHORTEST, self._longest))
        return words, wrong, words[-2:] != [END_THINK, str(problem.solutions[0])]


SHORTEST = 16
"""Words of a turn at least: one attempt fits."""


def sweep(problem: Problem, number: int, limit: int) -> tuple[list[str], int]:
    """At most `limit` words of attempts from a number on, and the last one that was found wrong."""
    words, wrong = [THINK], number - 1
    while len(words) < limit:
        words += attempt(problem, number)
        if words[-1] == "yes":
            words += [END_THINK, str(number)]
            break
        wrong = number if len(words) <= limit else wrong
        number += 1
    return words[:limit], wrong
