"""The replay buffer: what is kept, how it is drawn, and that a restored one draws the same."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from training.buffer import Buffer
from training.rows import Row


def row(number: int, kind: str = "find") -> Row:
    return Row((1, 2), (number, 3), 1.0, (1, 0), None, 1.0, kind)


def filled(*kinds: str, capacity: int = 100) -> Buffer:
    buffer = Buffer(capacity)
    buffer.add([row(number, kind) for number, kind in enumerate(kinds)])
    return buffer


def test_the_oldest_rows_are_forgotten() -> None:
    kept = filled(*["find"] * 5, capacity=3).draw(9, random.Random(0))
    assert [r.completion[0] for r in kept] == [2, 3, 4]


def test_a_weight_is_half_recency_and_half_rarity() -> None:
    assert filled("a", "a", "a", "b").weights() == pytest.approx(
        [0.5 * (i + 1) / 10 + 0.5 / (n * 2) for i, n in enumerate((3, 3, 3, 1))]
    )
    assert sum(filled(*"aabacb").weights()) == pytest.approx(1)


def test_draws_are_without_replacement_in_order_and_follow_the_weights() -> None:
    buffer, rng = filled(*["a"] * 9, "b"), random.Random(0)
    counts: Counter[int] = Counter()
    for _ in range(2000):
        drawn = [r.completion[0] for r in buffer.draw(2, rng)]
        assert drawn == sorted(set(drawn))
        counts[drawn[0]] += 1
        counts[drawn[1]] += 1
    first, *_, last_of_a, rare = (counts[i] for i in range(10))
    assert rare > last_of_a > first
    assert [r.completion[0] for r in filled("a", "b").draw(2, rng)] == [0, 1]


def test_one_draw_takes_each_row_with_its_weight() -> None:
    buffer, rng = filled("a", "a", "b"), random.Random(1)
    counts = Counter(buffer.draw(1, rng)[0].completion[0] for _ in range(6000))
    assert [counts[i] / 6000 for i in range(3)] == pytest.approx(buffer.weights(), abs=0.02)


def test_a_restored_buffer_draws_what_the_first_would_have_drawn() -> None:
    buffer = filled(*"abcabca")
    again = Buffer(100)
    again.add([row(99)])
    again.restore(json.loads(json.dumps(buffer.state())))
    one, other = random.Random(5), random.Random(5)
    assert [again.draw(3, other) for _ in range(5)] == [buffer.draw(3, one) for _ in range(5)]
    assert again.state() == buffer.state()
