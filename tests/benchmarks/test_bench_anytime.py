"""What recorded runs would have answered earlier, on runs made by hand."""

from __future__ import annotations

import pytest

from benchmarks.anytime import Track, recorded
from benchmarks.marking import place
from benchmarks.rows import Row, Step


def row(problem: str, *steps: tuple[int, str | None, bool], correct: bool, more: int = 0) -> Row:
    """A run of steps of so many tokens, with their answers, and `more` tokens that no step tells of."""
    told = [Step(step=f"{i}", kind="turn", tokens=t, answer=a, right=r) for i, (t, a, r) in enumerate(steps)]
    same = {"model": "m", "task": "t", "level": "l", "split": "test", "decoder": "d", "options": {}, "request_seed": 1}
    spent = sum(step.tokens for step in told) + more
    return Row.model_validate(
        {**same, "problem": problem, "steps": told, "correct": correct, "completion_tokens": spent, "answer": "x"}
    )


def test_an_answer_counts_from_the_end_of_its_step() -> None:
    found = recorded([row("p", (10, None, False), (30, "4", True), (20, None, False), (5, "5", False), correct=False)])
    track = found.tracks["p"]
    assert [track.at(budget) for budget in (0, 39, 40, 64, 65, 1000)] == [False, False, True, True, False, False]
    assert found.agreement == 1.0


def test_the_reading_is_the_one_that_ends_as_the_runs_did() -> None:
    voted = row("p", (10, "4", True), (10, "5", False), (10, "4", True), (10, "6", False), correct=True)
    newest = row("q", (10, "4", False), (10, "4", False), (10, "5", True), correct=True)
    assert recorded([voted]).reading == "the answer of most steps"
    assert recorded([voted]).tracks["p"].right == (True, True, True, True, True)
    assert recorded([newest]).reading == "the newest answer"
    both = recorded([voted, newest])
    assert both.agreement == 0.5


def test_at_its_end_a_run_has_its_own_answer() -> None:
    found = recorded([row("p", (10, "4", False), correct=True, more=5)])
    assert found.agreement == 0.0
    assert (found.tracks["p"].at(14), found.tracks["p"].at(15)) == (False, True)


@pytest.mark.parametrize(
    ("budget", "share"),
    [(5, 0.0), (10, 0.0), (20, 0.5), (30, 2 / 3), (40, 0.5), (80, 0.5), (160, 0.75)],
)
def test_the_share_of_right_tokens_is_exact(budget: float, share: float) -> None:
    """Right from 10 to 30 and from 60 on, wrong between; the last answer is held."""
    track = Track((10, 30, 60), (True, False, True))
    assert track.share(budget) == pytest.approx(share)


def test_runs_without_steps_cannot_be_cut_back() -> None:
    with pytest.raises(ValueError, match="--steps"):
        recorded([row("p", correct=True).model_copy(update={"steps": None})])


def test_places_are_in_program_order() -> None:
    keys = ["10", "2", "2.0.1", "2.0.10", "2~1", "3.1", "3.0~1", "3.0"]
    assert sorted(keys, key=place) == ["2", "2.0.1", "2.0.10", "2~1", "3.0", "3.0~1", "3.1", "10"]
