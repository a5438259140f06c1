"""The oracles: where they find a wrong attempt to go astray, and what they never say."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from benchmarks import tasks
from benchmarks.tasks.countdown import Problem as Countdown
from benchmarks.tasks.countdown import units
from benchmarks.tasks.residues import Problem as Residues
from decoders.core.leaks import leaks
from decoders.core.messages import Sampling
from decoders.prompts import Format, Pack
from training.interventions import Attempt
from training.play import Play
from training.teachers import countdown as expert
from training.teachers.countdown import Cursor, say_all, solutions
from training.teachers.interventions import guess, propose, search
from training.teachers.residues import attempt

COUNTDOWN: Any = tasks.problems("countdown", "hard", "train", 12)
RESIDUES: Any = tasks.problems("residues", "hard", "train", 6)
PLAY = Play({}, Sampling(max_tokens=1), 0, 0)


def searched(problem: Countdown, words: list[str]) -> Attempt:
    _, path = solutions(problem)[0]
    text, reference = (" ".join(words).replace(" ,", ",") for words in (words, say_all(path)))
    return Attempt(problem, text, reference, Pack.load("tiny").boundary)


def other(problem: Countdown) -> Cursor:
    """The part behind the one with the solution, or the first."""
    space, (place, _) = units(problem.numbers), solutions(problem)[0]
    open_parts = [i for i, unit in enumerate(space) if unit.left and i != place.unit]
    return Cursor(next((i for i in open_parts if i > place.unit), open_parts[0]), 0)


@pytest.mark.parametrize("problem", COUNTDOWN, ids=lambda problem: problem.id)
def test_a_search_elsewhere_is_wrong_from_its_first_step_on(problem: Countdown) -> None:
    wrong = searched(problem, expert.search(problem, other(problem), 60).words)
    found = search(problem, wrong)
    assert found is not None
    assert found.step == 1
    _, path = solutions(problem)[0]
    assert found.content.split()[1:6] == say_all(path[:1])
    assert found.content.endswith(f"target {problem.target} :")
    assert wrong.spliced(found) == f"<think> {found.content}"
    assert not leaks(found.content, [wrong.reference], Format())
    assert not problem.check(found.content)


def test_what_was_looked_at_in_the_right_part_is_kept_up_to_what_is_not_so() -> None:
    problem = next(p for p in COUNTDOWN if solutions(p)[0][0].node >= 3)
    place, _ = solutions(problem)[0]
    words = expert.search(problem, Cursor(place.unit, 0), 200).words
    ends = [i for i, word in enumerate(words) if word == ";"]
    cut = searched(problem, words[: ends[2] - 1])
    assert getattr(search(problem, cut), "step", None) == 3  # the last one, which is unfinished
    misread = list(words[: ends[2] + 1])
    misread[ends[1] - 1] = "x" if misread[ends[1] - 1] != "x" else "7"
    wrong = searched(problem, misread)
    found = search(problem, wrong)
    assert found is not None
    assert found.step == 2
    spliced = wrong.spliced(found)
    assert spliced == " ".join(words[: ends[0] + 1]) + f" {found.content}"


def test_leaving_the_right_part_is_critical_where_it_is_left() -> None:
    problem = next(p for p in COUNTDOWN if solutions(p)[0][0].node >= 1)
    place, _ = solutions(problem)[0]
    words = expert.search(problem, Cursor(place.unit, 0), 200).words
    elsewhere = expert.search(problem, other(problem), 40).words[1:]
    wrong = searched(problem, words[: words.index(";") + 1] + elsewhere)
    assert getattr(search(problem, wrong), "step", None) == 2


def test_a_reference_in_other_steps_than_the_searchs_is_passed_over() -> None:
    problem = COUNTDOWN[0]
    wrong = Attempt(problem, "<think> try", "1 + 1 = 2", Pack.load("tiny").boundary)
    assert search(problem, wrong) is None
    assert asyncio.run(propose(wrong, PLAY)) == []


def guessed(problem: Residues, *parts: str) -> Attempt:
    return Attempt(problem, " ".join(["<think>", *parts]), str(problem.solutions[0]), Pack.load("residues").boundary)


@pytest.mark.parametrize("problem", RESIDUES, ids=lambda problem: problem.id)
def test_who_gives_up_is_to_try_another_number_that_is_not_the_solution(problem: Residues) -> None:
    (solution,) = problem.solutions
    tried = [n for n in (1, 2, 3) if n != solution]
    said = [" ".join(attempt(problem, n)) for n in tried]
    wrong = guessed(problem, *said, "</think> 5")
    found = guess(problem, wrong)
    assert found.step == len(said) + 1
    number = int(found.content.split()[1])
    assert number not in (solution, *tried)
    assert found.content.split() == attempt(problem, number)
    assert wrong.spliced(found) == " ".join(["<think>", *said, found.content])
    assert asyncio.run(propose(wrong, PLAY)) == [found]


def test_a_number_that_was_misjudged_is_critical() -> None:
    problem = RESIDUES[0]
    first, second = (n for n in range(1, 4) if n != problem.solutions[0]) if problem.solutions[0] < 4 else (1, 2)
    fine, off = " ".join(attempt(problem, first)), f"try {second} 9 9 no"
    assert guess(problem, guessed(problem, fine, off, "</think> 1")).step == 2
    assert guess(problem, guessed(problem, fine, " ".join(attempt(problem, second)))).step == 2  # where it ended


def test_other_tasks_have_no_oracle() -> None:
    (problem,) = tasks.problems("sequences", "easy", "train", 1)
    with pytest.raises(ValueError, match="proposer=model"):
        asyncio.run(propose(Attempt(problem, "x", "y", r"\n"), PLAY))
