"""Draws follow the distribution that the parameters describe."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoders.core.messages import Sampling
from server.engines.embedded import sampler
from server.engines.embedded.sampler import Draw, choose, logprobs


def drawn(logits: Any, count: int = 3000, **options: Any) -> np.ndarray[Any, Any]:
    """Frequencies of the tokens over many seeds."""
    rows = np.repeat(np.array([logits], np.float32), count, axis=0)
    ids = choose(rows, [Draw(Sampling(1, seed=i, **options), 0) for i in range(count)])
    return np.bincount(ids, minlength=len(logits)) / count


PROBABILITIES = np.array([0.4, 0.3, 0.15, 0.1, 0.05])


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, 5),
        ({"top_k": 2}, 2),
        ({"top_p": 0.69}, 2),
        ({"top_p": 0.71}, 3),
        ({"min_p": 0.3}, 3),
        ({"top_k": 4, "top_p": 0.74}, 3),
        ({"top_p": 0.01}, 1),
    ],
)
def test_frequencies_are_those_of_the_kept_tokens(options: dict[str, Any], kept: int) -> None:
    wanted = PROBABILITIES * (np.arange(5) < kept)
    np.testing.assert_allclose(drawn(np.log(PROBABILITIES), **options), wanted / wanted.sum(), atol=0.03)


def test_temperature_sharpens_and_zero_is_greedy() -> None:
    wanted = PROBABILITIES**2 / (PROBABILITIES**2).sum()
    np.testing.assert_allclose(drawn(np.log(PROBABILITIES), temperature=0.5), wanted, atol=0.03)
    assert drawn(np.log(PROBABILITIES), count=10, temperature=0)[0] == 1
    assert drawn(np.log(PROBABILITIES) * 1000, count=10, temperature=1e-9)[0] == 1


def test_penalties_count_what_was_said() -> None:
    draw = Draw(Sampling(9, temperature=0, presence_penalty=0.5, frequency_penalty=0.25), 0)
    draw.said.update([0, 0, 1])
    logits = np.array([[3.0, 2.9, 2.1]], np.float32)
    assert choose(logits, [draw])[0] == 1  # 3 - 0.5 - 0.5, 2.9 - 0.75, 2.1
    draw.said[1] += 1
    assert choose(logits, [draw])[0] == 2
    assert logits[0, 0] == 3.0


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), spread=st.floats(0.01, 8.0), data=st.data())
def test_few_candidates_are_as_good_as_all(seed: int, spread: float, data: st.DataObject) -> None:
    logits = (np.random.default_rng(seed).normal(size=(3, 300)) * spread).astype(np.float32)
    logits -= logits.max(axis=1, keepdims=True)
    options: dict[str, Any] = {
        "top_k": data.draw(st.sampled_from([0, 1, 5, 200])),
        "top_p": data.draw(st.sampled_from([0.1, 0.9, 0.999])),
        "min_p": data.draw(st.sampled_from([0.0, 0.05])),
    }
    samplings = [Sampling(1, **options)] * 3
    uniforms = np.random.default_rng(seed + 1).random(3)
    few = sampler._narrowed(logits, samplings, uniforms, 16)
    assert few.tolist() == sampler._narrowed(logits, samplings, uniforms, 300).tolist()


def test_a_draw_does_not_depend_on_its_neighbours() -> None:
    logits = np.random.default_rng(0).normal(size=(6, 128)).astype(np.float32)
    options: list[dict[str, Any]] = [{}, {"temperature": 0}, {"top_p": 0.5}, {"top_k": 3}, {"min_p": 0.2}, {}]
    draws = [[Draw(Sampling(1, seed=5, **o), i) for i, o in enumerate(options)] for _ in range(2)]
    alone = [int(choose(logits[i : i + 1], [draws[0][i]])[0]) for i in range(6)]
    assert choose(logits, draws[1]).tolist() == alone


def test_logprobs_are_of_the_raw_logits() -> None:
    logits = np.log(PROBABILITIES)[None].astype(np.float32)
    (detail,) = logprobs(np.repeat(logits, 2, axis=0), np.array([2, 0]), [2, None], str)[0]
    assert detail.logprob == pytest.approx(np.log(0.15), abs=1e-5)
    assert [id for id, _, _ in detail.top] == [0, 1]
    assert logprobs(logits, np.array([0]), [None], str) == [()]
