"""Advantages of a group, what becomes of rows before the loss, and how they are cut into micro-batches."""

from __future__ import annotations

from math import isclose
from statistics import fmean, pstdev

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.batches import Shape, chosen, divide, tensors
from training.rows import ADVANTAGES, Row, centred, left_out, normalised
from training.settings import Loss

REWARDS = st.lists(st.floats(-1, 1), min_size=1, max_size=16)


@given(REWARDS)
def test_advantages_sum_to_nothing(rewards: list[float]) -> None:
    for name, advantage in ADVANTAGES.items():
        found = advantage(rewards)
        assert len(found) == len(rewards)
        assert abs(fmean(found)) < 1e-3, name


def test_advantages_are_the_papers() -> None:
    rewards = [1.0, 0.0, 0.0, 1.0, 0.0]
    assert centred(rewards) == pytest.approx([0.6, -0.4, -0.4, 0.6, -0.4])
    assert normalised(rewards)[0] == pytest.approx(0.6 / pstdev(rewards), rel=1e-5)
    assert left_out(rewards)[0] == pytest.approx(1.0 - 0.25)
    assert normalised([1.0]) == left_out([0.3]) == [0.0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": (), "completion": (1,)},
        {"prompt": (1,), "completion": ()},
        {"prompt": (1,), "completion": (1, 2), "mask": (1,)},
        {"prompt": (1,), "completion": (1, 2), "advantage": (0.5,)},
        {"prompt": (1,), "completion": (1, 2), "logprobs": (-0.5,)},
    ],
)
def test_a_row_that_does_not_fit_together_is_refused(wrong: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="a row has"):
        Row(**wrong)  # type: ignore[arg-type]


END = 3
RIGHT, WRONG, CUT = Row((1,), (8, END), 1.0), Row((1,), (9, END), -1.0), Row((1,), (9, 9), -1.0)


def test_what_the_loss_does_with_wrong_and_cut_rows() -> None:
    rows = [RIGHT, WRONG, CUT]
    assert chosen(rows, Loss(), {END}) == rows
    assert [row.advantage for row in chosen(rows, Loss(negatives="mask"), {END})] == [1.0, 0.0, 0.0]
    assert [row.mask for row in chosen(rows, Loss(negatives="no_end"), {END})] == [None, (1, 0), None]
    assert [row.mask for row in chosen(rows, Loss(overlong="mask"), {END})] == [None, None, (0, 0)]


@given(st.lists(st.integers(1, 30), max_size=40), st.integers(1, 3), st.integers(1, 4))
def test_every_row_is_in_one_micro_batch(sizes: list[int], updates: int, parts: int) -> None:
    rows = [Row((1,), (7,) * size) for size in sizes]
    pieces = divide(rows, Shape(updates, parts, frozenset({END}), 0), "seed")
    assert len(pieces) == updates * parts
    trained = [len(row.completion) for piece in pieces for row in piece if row.trained]
    assert sorted(trained) == sorted(sizes)
    assert all(piece for piece in pieces)
    assert pieces == divide(rows, Shape(updates, parts, frozenset({END}), 0), "seed")


def test_tensors_hold_the_rows() -> None:
    rows = [Row((5, 6), (7, 8, 9), (0.1, 0.2, 0.3), mask=(1, 0, 1), logprobs=(-1.0, -2.0, -3.0)), Row((4,), (7,), 2.0)]
    made = tensors(rows, 0)
    assert made["prompt_ids"].tolist() == [[5, 6], [0, 4]]
    assert made["prompt_mask"].tolist() == [[1, 1], [0, 1]]
    assert made["completion_ids"].tolist() == [[7, 8, 9], [7, 0, 0]]
    assert made["completion_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert made["tool_mask"].tolist() == [[1, 0, 1], [1, 0, 0]]
    assert torch.allclose(made["advantages"], torch.tensor([[0.1, 0.2, 0.3], [2.0, 0.0, 0.0]]))
    assert made["sampled_logps"][0].tolist() == [-1.0, -2.0, -3.0]
    assert bool(made["sampled_logps"][1].isnan().all())
    assert isclose(rows[0].trained, 2)
