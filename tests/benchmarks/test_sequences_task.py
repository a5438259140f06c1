from __future__ import annotations

import random

import pytest

from benchmarks.tasks.sequences import (
    KINDS,
    LARGEST,
    LEVELS,
    WANTED,
    Problem,
    Rule,
    fitting,
    named,
    places,
    problems,
    random_problem,
    read,
)


@pytest.mark.parametrize(
    ("rule", "following"),
    [
        (Rule("constant", (3,)), (17, 20, 23, 26)),
        (Rule("pair", (3, -5)), (17, 12, 15, 10)),
        (Rule("triple", (3, -5, 1)), (17, 12, 13, 16)),
        (Rule("grow", (3, 5)), (17, 22, 29, 38)),
        (Rule("swing", (3, -5)), (17, 12, 19, 10)),
        (Rule("skip", (3, -5)), (13, 9, 16, 4)),
    ],
)
def test_every_kind_of_rule_goes_on_as_it_says(rule: Rule, following: tuple[int, ...]) -> None:
    assert rule.follow((2, 10, 14), 4) == following


def test_a_rule_ends_where_numbers_end() -> None:
    assert Rule("constant", (15,)).follow((10,), 4) == (25, 40)


@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_is_read_off_at_every_place_of_a_sequence_that_follows_it(kind: str) -> None:
    rng = random.Random(kind)
    for _ in range(50):
        problem = random_problem(rng, [k for k in KINDS if k == kind])
        rules = {read(k, problem.numbers, place) for k in KINDS if k == kind for place in places(k, problem.numbers)}
        assert [rule.follow(problem.numbers, WANTED) for rule in rules] == [problem.wanted]


def test_no_problem_has_two_answers_and_one_place_alone_is_mostly_misleading() -> None:
    rng = random.Random(0)
    right = total = 0
    for _ in range(300):
        problem = random_problem(rng, LEVELS["hard"])
        assert {rule.follow(problem.numbers, WANTED) for rule in fitting(problem.numbers)} == {problem.wanted}
        assert max(problem.numbers + problem.wanted) <= LARGEST
        for kind in KINDS:
            rule = read(kind, problem.numbers, places(kind, problem.numbers)[-1])
            right, total = right + problem.check(" ".join(map(str, rule.follow(problem.numbers, WANTED)))), total + 1
    assert 0.1 < right / total < 0.3


def test_a_problem_is_in_one_split_by_its_own_hash() -> None:
    rng = random.Random(1)
    splits = [random_problem(rng, KINDS).split for _ in range(4000)]
    assert 0.08 < splits.count("test") / 4000 < 0.12
    assert 0.08 < splits.count("dev") / 4000 < 0.12
    assert Problem((2, 5, 8, 11, 14, 17), ()).split == "train"  # pinned: a change of the rule would leak test problems


@pytest.mark.parametrize("wanted", LEVELS)
def test_problems_are_of_their_split_and_more_of_them_begin_with_the_same_ones(wanted: str) -> None:
    found = problems(wanted, "test", 30)
    assert found == problems(wanted, "test", 60)[:30]
    assert len({p.id for p in found}) == 30
    assert all(p.split == "test" and named(p.id) == p for p in found)
    assert found != problems(wanted, "test", 30, seed=1)


def test_an_answer_is_the_wanted_numbers_and_nothing_else() -> None:
    problem = named("2-5-8-11-14-17")
    assert problem.question == "Continue 2 5 8 11 14 17"
    assert problem.check("20 23 26 29")
    assert problem.check("20, 23, 26, 29.")
    for wrong in ("20 23 26", "20 23 26 29 32", "20 23 26 28", "it is 20 23 26 29", "", "x"):
        assert not problem.check(wrong)
