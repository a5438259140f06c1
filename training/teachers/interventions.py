"""Oracles that intervene: rules that find the critical step of a wrong attempt from the reference solution.

The small models cannot verify a log in words. These rules know the search space instead and never err, so what
training gains from them is the best case. Rule: they say where to look, and never what is found there.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

from benchmarks.tasks.countdown import Problem as Countdown
from benchmarks.tasks.countdown import steps as nodes
from benchmarks.tasks.countdown import units
from benchmarks.tasks.residues import Problem as Residues
from decoders.core.thinking import CLOSE
from training.interventions import Attempt, Intervention
from training.play import Play
from training.teachers.countdown import header, look, say_all, solutions
from training.teachers.residues import attempt


async def propose(wrong: Attempt, play: Play) -> list[Intervention]:
    """What the rule for the attempt's task says. `ValueError` where there is none."""
    match wrong.problem:
        case Countdown() as problem:
            found = search(problem, wrong)
        case Residues() as problem:
            found = guess(problem, wrong)
        case _:
            raise ValueError(f"{wrong.problem.id}: only countdown and residues have an oracle: set proposer=model")
    return [] if found is None else [found]


def search(problem: Countdown, wrong: Attempt) -> Intervention | None:
    """Look at the part of the search space where the reference lies.

    Critical is the first step in another part, or that says what is not so, or else the last, at which the attempt
    ended. Nothing where the reference takes its steps in an order that the search does not know.
    """
    known = (place for place, path in solutions(problem) if say_all(path) == _words(wrong.reference))
    if (place := next(known, None)) is None:
        return None
    unit = units(problem.numbers)[place.unit]
    opening = ["try", *header(unit), "target", str(problem.target), ":"]
    sound = [look(node, problem.target)[0] for node in nodes(unit.left or ())]
    return Intervention(_first_other(wrong.steps, opening, sound), " ".join(opening))


def _first_other(steps: Sequence[str], opening: list[str], sound: Collection[Sequence[str]]) -> int:
    """The first step that is not among the sound ones, with the opening before it or behind a step that had it."""
    for number, step in enumerate(steps, 1):
        words = _words(step)
        if words[0] == opening[0]:
            if words[: len(opening)] != opening:
                return number
            words = words[len(opening) :]
        if tuple(words) not in sound:
            return number
    return len(steps)


def _words(text: str) -> list[str]:
    return text.replace(",", " ,").split()


def guess(problem: Residues, wrong: Attempt) -> Intervention:
    """Try another number, one that is not the solution, where the attempt gave up, misjudged a number or ended."""
    said = [step.split() for step in wrong.steps]
    sound = [attempt(problem, n) for n in range(1, problem.largest + 1) if n not in problem.solutions]
    critical = (number for number, words in enumerate(said, 1) if words[0] == CLOSE or words not in sound)
    tried = [words[1] for words in said if len(words) > 1]
    left = [words for words in sound if words[1] not in tried] or sound
    return Intervention(next(critical, len(said)), " ".join(random.Random(wrong.text).choice(left)))
