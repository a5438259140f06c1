"""Oracles that intervene: rules that find the critical step of a wrong attempt from the reference solution.

The small models cannot verify a log in words. These rules know the search space instead and err never, so what
training gains from them is the best case. Rule: they never say the last step of a
solution, nor the number that is looked for.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

from benchmarks.tasks import Problem
from benchmarks.tasks.countdown import Problem as Countdown
from benchmarks.tasks.countdown import steps as nodes_of
from benchmarks.tasks.countdown import units
from benchmarks.tasks.residues import Problem as Residues
from decoders.core.thinking import CLOSE
from training.interventions import Attempt, Intervention, Known
from training.teachers.countdown import header, look, say_all, solutions
from training.teachers.residues import attempt


def oracle(problem: Problem) -> Known:
    """The rule for a problem. `ValueError` where there is none."""
    if isinstance(problem, Countdown):
        return search
    if isinstance(problem, Residues):
        return guesses
    raise ValueError(
        f"{problem.id}: there are oracles for countdown and residues; the policy proposes with proposer=model"
    )


def search(wrong: Attempt, rng: random.Random) -> list[Intervention]:
    """Look at the part of the search space where the reference lies, from a node on that is not behind it.

    Critical is the first step in another part, or that says what is not so, or else the last, at which the attempt
    ended. Nothing where the reference takes its steps in an order that the search does not know.
    """
    problem = wrong.problem
    assert isinstance(problem, Countdown)
    known = (place for place, path in solutions(problem) if say_all(path) == _words(wrong.reference))
    if (place := next(known, None)) is None:
        return []
    unit = units(problem.numbers)[place.unit]
    nodes = nodes_of(unit.left or ())
    opening = ["try", *header(unit), "target", str(problem.target), ":"]
    sound = [look(node, problem.target)[0] for node in nodes]
    step = _first_other(wrong.steps, opening, sound)
    said = (nodes[i] for i in rng.sample(range(place.node + 1), place.node + 1))
    return [Intervention(step, " ".join([*opening, str(n.a), n.operator, str(n.b)])) for n in said]


def _first_other(parts: Sequence[str], opening: list[str], sound: Collection[Sequence[str]]) -> int:
    for number, part in enumerate(parts, 1):
        words = _words(part)
        if words[0] == "try":
            if words[: len(opening)] != opening:
                return number
            words = words[len(opening) :]
        if tuple(words) not in sound:
            return number
    return len(parts)


def _words(text: str) -> list[str]:
    return text.replace(",", " ,").split()


def guesses(wrong: Attempt, rng: random.Random) -> list[Intervention]:
    """Try another number that is not the solution, where the attempt gave up, misjudged a number or ended."""
    problem = wrong.problem
    assert isinstance(problem, Residues)
    said = [part.split() for part in wrong.steps]
    others = [n for n in range(1, problem.largest + 1) if n not in problem.solutions]
    sound = [attempt(problem, number) for number in others]
    critical = (number for number, words in enumerate(said, 1) if words[0] == CLOSE or words not in sound)
    tried = [int(words[1]) for words in said if words[0] == "try" and words[1:2] and words[1].isdecimal()]
    left = [words for n, words in zip(others, sound, strict=True) if n not in tried] or sound
    step = next(critical, len(said))
    return [Intervention(step, " ".join(words)) for words in rng.sample(left, len(left))]
