from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoders.core.budget import Budget
from decoders.core.errors import BudgetExhausted


def test_a_reservation_takes_what_is_left_and_gives_back_what_was_not_used() -> None:
    purse = Budget(100)
    assert purse.reserve(70) == 70
    assert purse.reserve(70) == 30
    with pytest.raises(BudgetExhausted):
        purse.reserve(1)
    purse.settle(70, 10)
    assert (purse.left, purse.spent, purse.reserved) == (60, 10, 30)


def test_a_passed_deadline_ends_the_purse() -> None:
    purse = Budget(100, deadline=time.monotonic() - 1)
    assert purse.expired
    with pytest.raises(BudgetExhausted, match="deadline"):
        purse.reserve(1)


def test_a_split_gives_everything_away_exactly_once() -> None:
    purse = Budget(11)
    shares = purse.split(3)
    assert [s.tokens for s in shares] == [4, 4, 3]
    assert sum(s.reserve(100) for s in shares) == 11
    assert purse.left == 0


@given(
    tokens=st.integers(0, 500),
    moves=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 200), st.floats(0, 1)), max_size=40),
)
def test_no_purse_of_a_tree_ever_overspends(tokens: int, moves: list[tuple[int, int, float]]) -> None:
    root = Budget(tokens)
    purses = [root, *root.split(2), root.share(tokens // 2)]
    open_reservations: list[tuple[Budget, int, float]] = []
    for which, want, used in moves:
        purse = purses[which]
        try:
            open_reservations.append((purse, purse.reserve(want), used))
        except BudgetExhausted:
            assert purse.left <= 0
        if len(open_reservations) > 3:
            owner, granted, part = open_reservations.pop(0)
            owner.settle(granted, int(granted * part))
        for each in purses:
            assert each.spent + each.reserved <= each.tokens
            assert root.spent + root.reserved <= tokens
