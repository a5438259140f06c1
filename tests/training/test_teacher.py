"""The teacher is checked against the rules themselves: whatever it shows must be true."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.tasks.countdown import Problem, random_problem, solution_units, steps, units
from decoders.core.thinking import split
from decoders.prompts import Pack
from decoders.rewards.countdown import explain
from training.teachers import countdown as teacher
from training.teachers.rows import CountdownRows

seeds = st.integers(0, 2**32)


def problem_from(seed: int, size: int = 4) -> Problem:
    return random_problem(random.Random(seed), size)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, size=st.sampled_from([3, 4]))
def test_a_search_that_goes_on_long_enough_finds_a_right_answer(seed: int, size: int) -> None:
    problem = problem_from(seed, size)
    turn = teacher.search(problem, teacher.random_start(problem, random.Random(seed)), 5000)
    assert turn.complete
    assert problem.check(split(" ".join(turn.words))[1])


@settings(max_examples=60, deadline=None)
@given(seed=seeds, budget=st.integers(20, 130))
def test_turns_joined_by_their_summaries_cover_the_space_without_a_gap(seed: int, budget: int) -> None:
    problem = problem_from(seed)
    cursor, start, seen = None, teacher.Cursor(0, 0), []
    for _ in range(400):
        turn = teacher.search(problem, start, budget)
        assert len(turn.words) <= budget
        if turn.solution:
            break
        if turn.cursor is not None and turn.cursor != cursor:
            seen.append(turn.cursor)
            cursor = turn.cursor
            start = teacher.Cursor(cursor.unit, cursor.node + 1)
        elif turn.cursor is None:
            break  # the budget is too small for a single node
    else:
        pytest.fail("no solution in 400 turns")
    assert seen == sorted(seen, key=lambda c: (c.unit, c.node))


@settings(max_examples=100, deadline=None)
@given(seed=seeds)
def test_a_check_says_yes_exactly_to_right_answers(seed: int) -> None:
    rng = random.Random(seed)
    problem = random_problem(rng, rng.choice([3, 4]))
    solution = rng.choice(teacher.solutions(problem))[1]
    claim = teacher.corrupt(problem, solution, rng) if rng.random() < 0.7 else solution
    right = explain(problem.numbers, problem.target, " ".join(teacher.say_all(claim))) is None
    assert (teacher.check(problem, claim)[-1] == "yes") == right


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_after_a_wrong_claim_the_search_goes_on_and_after_a_right_one_it_is_repeated(seed: int) -> None:
    rng = random.Random(seed)
    problem = random_problem(rng, 4)
    solution = rng.choice(teacher.solutions(problem))[1]
    claim = teacher.corrupt(problem, solution, rng) if rng.random() < 0.5 else solution
    turn = teacher.after_check(problem, claim, rng, 5000)
    answer = split(" ".join(turn.words))[1]
    assert problem.check(answer)
    if explain(problem.numbers, problem.target, " ".join(teacher.say_all(claim))) is None:
        assert answer == " ".join(teacher.say_all(claim))


def test_the_units_that_hold_a_solution_are_those_the_level_counts() -> None:
    for seed in range(30):
        problem = problem_from(seed)
        assert len({cursor.unit for cursor, _ in teacher.solutions(problem)}) == solution_units(problem)


def test_no_held_out_problem_is_ever_trained_on_and_no_row_is_longer_than_planned() -> None:
    rows = CountdownRows(Pack.load("tiny"), 7)
    for draw in (rows.turn, rows.check, rows.hint):
        for _ in range(300):
            row = draw()
            words = row.messages[0].content.split()
            end = words.index("to")
            numbers = tuple(int(w) for w in words[1:end])
            assert Problem(numbers, int(words[end + 2])).split == "train"
            assert sum(len(m.content.split()) + 3 for m in row.messages) <= 200


def test_rows_repeat_exactly() -> None:
    pack = Pack.load("tiny")
    assert [CountdownRows(pack, 3).turn() for _ in range(3)] == [CountdownRows(pack, 3).turn() for _ in range(3)]


def test_a_fresh_start_may_be_any_unit() -> None:
    problem = Problem((12, 9, 5, 2), 59)
    rng = random.Random(0)
    starts = {teacher.random_start(problem, rng).unit for _ in range(500)}
    assert starts == {i for i, unit in enumerate(units(problem.numbers)) if unit.left}


def test_equal_numbers_are_paired_once() -> None:
    assert [(s.a, s.operator, s.b) for s in steps((7, 7, 7))] == [(7, "+", 7), (7, "-", 7), (7, "*", 7)]
