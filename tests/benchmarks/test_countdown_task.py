from __future__ import annotations

from itertools import combinations_with_replacement, islice

import pytest

from benchmarks.tasks.countdown import LEVELS, NUMBERS, TARGETS, Problem, level, problems, solution_units, units


def test_a_problem_is_in_one_split_by_its_own_hash_whatever_the_order_it_was_made_in() -> None:
    shares = dict.fromkeys(("train", "dev", "test"), 0)
    for numbers in combinations_with_replacement(reversed(NUMBERS), 4):
        for target in TARGETS:
            shares[Problem(numbers, target).split] += 1
    total = sum(shares.values())
    assert 0.09 < shares["dev"] / total < 0.12
    assert 0.09 < shares["test"] / total < 0.12
    assert Problem((9, 8, 5, 5), 18).split == "train"  # pinned: a change of the rule would leak test problems


@pytest.mark.parametrize("wanted", LEVELS)
def test_problems_are_of_their_level_and_split_and_repeat_exactly(wanted: str) -> None:
    found = problems(wanted, "test", 20)
    assert found == problems(wanted, "test", 20)
    assert len({p.id for p in found}) == 20
    assert all(p.split == "test" and level(p) == wanted for p in found)
    assert {p.id for p in found}.isdisjoint(p.id for p in problems(wanted, "dev", 20))


def test_there_are_at_least_300_hard_problems_for_the_test() -> None:
    assert len({p.id for p in problems("hard", "test", 300)}) == 300


def test_a_hard_problem_has_exactly_one_unit_with_a_solution() -> None:
    for problem in problems("hard", "dev", 10):
        assert solution_units(problem) == 1
        assert 12 <= sum(1 for unit in units(problem.numbers) if unit.left) <= 18


def test_too_many_problems_are_refused() -> None:
    with pytest.raises(ValueError, match="fewer than"):
        problems("easy", "test", 5000)


def test_unsolvable_problems_have_no_level() -> None:
    unsolvable = (Problem((1, 1, 1, 1), target) for target in TARGETS)
    assert None in {level(p) for p in islice(unsolvable, 60)}
