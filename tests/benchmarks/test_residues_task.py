from __future__ import annotations

import pytest

from benchmarks.tasks.residues import LEVELS, SIZES, Problem, pool, problems
from decoders.rewards.residues import explain


@pytest.mark.parametrize("wanted", LEVELS)
def test_problems_are_of_their_level_and_split_and_repeat_exactly(wanted: str) -> None:
    found = problems(wanted, "test", 20)
    assert found == problems(wanted, "test", 20)
    assert found[:7] == problems(wanted, "test", 7)
    assert len({p.id for p in found}) == 20
    ranges, count = SIZES[wanted]
    assert all(p.split == "test" and p.largest in ranges and len(p.congruences) == count for p in found)


@pytest.mark.parametrize("wanted", LEVELS)
def test_a_problem_has_one_solution_and_needs_all_of_its_congruences(wanted: str) -> None:
    for problem in problems(wanted, "dev", 40):
        (solution,) = problem.solutions
        assert [n for n in range(1, problem.largest + 1) if problem.check(str(n))] == [solution]
        for left_out in range(len(problem.congruences)):
            rest = problem.congruences[:left_out] + problem.congruences[left_out + 1 :]
            assert len(Problem(problem.largest, rest).solutions) > 1


def test_a_system_is_in_one_split_whatever_its_range() -> None:
    systems = {split: {p.system for level in LEVELS for p in pool(level, split)} for split in ("train", "dev", "test")}
    total = sum(map(len, systems.values()))
    assert len(set.union(*systems.values())) == total
    assert 0.07 < len(systems["dev"]) / total < 0.13
    assert 0.07 < len(systems["test"]) / total < 0.13
    assert Problem(20, ((7, 3), (5, 2))).split == "train"  # pinned: a change of the rule would leak test problems


def test_a_question_says_everything() -> None:
    problem = Problem(20, ((7, 3), (5, 2)))
    assert problem.question == "Find x from 1 to 20 with x mod 7 = 3, x mod 5 = 2"
    assert problem.id == "20/7:3,5:2"
    assert problem.environment is None


def test_too_many_problems_are_refused() -> None:
    with pytest.raises(ValueError, match="fewer than"):
        problems("easy", "test", 5000)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("17", None),
        (" x = 17. ", None),
        ("", "not one number"),
        ("17 or 3", "not one number"),
        ("-17", "not one number"),
        ("٣", "not one number"),
        ("0017", "not one number"),
        ("52", "not from 1 to 40"),
        ("0", "not from 1 to 40"),
        ("10", "10 mod 5 is 0, not 2"),
    ],
)
def test_an_answer_is_right_or_the_reason_is_given(answer: str, reason: str | None) -> None:
    found = explain([(7, 3), (5, 2)], 40, answer)
    assert found is None if reason is None else found is not None and reason in found
