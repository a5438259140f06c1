"""e3's didactic model (arXiv 2506.09026, section 5): why wrong chains must stay in the loss.

A policy over 100 actions and a stop sees only its last action. Action 0 is the right one and ends the chain; at first
it is very unlikely and stopping is likely. A chain is worth 1 or -1, its update is the mean over its own tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest

ACTIONS, LONGEST, CHAINS, RATE = 100, 100, 32, 100.0
STOP = ACTIONS
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class History:
    """Means of each batch of chains."""

    length: Array
    success: Array
    stopping: Array
    entropy: Array


def softmax(logits: Array) -> Array:
    shares: Array = np.exp(logits - logits.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


def sample(policy: Array, rng: np.random.Generator) -> tuple[npt.NDArray[np.int_], ...]:
    """Chain, state and action of every token, and the length of each chain; none begins with the right action."""
    sums, state, alive = policy.cumsum(1), rng.integers(1, ACTIONS, CHAINS), np.arange(CHAINS)
    tokens = []
    for _ in range(LONGEST):
        action = (sums[state] < rng.random(len(state))[:, None]).sum(1).clip(max=STOP)
        tokens.append((alive, state, action))
        going = (action != 0) & (action != STOP)
        alive, state = alive[going], action[going]
    chain, states, actions = (np.concatenate(part) for part in zip(*tokens, strict=True))
    return chain, states, actions, np.bincount(chain, minlength=CHAINS)


def train(wrong: float, batches: int = 600, mean: Literal["chain", "batch"] = "chain") -> History:
    """REINFORCE where a wrong chain has the advantage `wrong`: -1, or 0 to mask it."""
    rng = np.random.default_rng(0)
    logits = rng.uniform(-3, 3, (ACTIONS + 1, ACTIONS + 1))
    logits[:, 0], logits[:, STOP] = -4, 4
    told = []
    for _ in range(batches):
        policy = softmax(logits)
        chain, state, action, length = sample(policy, rng)
        right = np.bincount(chain, action == 0, CHAINS) > 0
        advantage = np.where(right, 1.0, wrong) / (length if mean == "chain" else length.mean())
        step = np.zeros_like(logits)
        np.add.at(step, (state, action), advantage[chain])
        step -= np.bincount(state, advantage[chain], ACTIONS + 1)[:, None] * policy
        logits += RATE / CHAINS * step
        entropy = -(policy * np.log(policy)).sum(1).mean()
        told.append((length.mean(), right.mean(), policy[:, STOP].mean(), entropy))
    return History(*np.array(told).T)


def test_wrong_chains_make_chains_longer_until_they_find_the_right_action_and_then_shorter() -> None:
    kept = train(wrong=-1.0)
    start, found = kept.length[:10].mean(), int(np.argmax(kept.success > 0.5))
    assert kept.success[: found - 50].mean() < 0.1
    assert kept.length[found - 50 : found].mean() > 5 * start
    assert kept.stopping[found] < kept.stopping[0] / 10
    assert kept.success[-10:].mean() > 0.9
    assert kept.length[-10:].mean() < start


def test_with_wrong_chains_masked_nothing_moves() -> None:
    masked = train(wrong=0.0)
    assert masked.success[-100:].mean() < 0.05
    assert masked.length[-100:].mean() < 1.2 * masked.length[:100].mean()
    assert masked.stopping[-1] == pytest.approx(masked.stopping[0], rel=0.1)


def test_chains_grow_because_a_short_wrong_one_counts_more_for_each_of_its_tokens() -> None:
    # a constant advantage has no expected gradient; dividing by the chain's own length is what punishes early ends
    whole = train(wrong=-1.0, batches=200, mean="batch")
    own = train(wrong=-1.0, batches=200)
    assert own.length[-50:].mean() > 4 * whole.length[-50:].mean()


@pytest.mark.parametrize(("action", "higher"), [(0, True), (1, False)])
def test_a_step_away_from_a_likely_action_raises_entropy_and_from_an_unlikely_one_lowers_it(
    action: int, higher: bool
) -> None:
    logits = np.array([[3.0, -2.0, 0.0, 0.0, 0.0]])
    before = softmax(logits)
    after = softmax(logits - 0.1 * (np.eye(5)[[action]] - before))
    entropy = [-(policy * np.log(policy)).sum() for policy in (before, after)]
    assert (entropy[1] > entropy[0]) == higher
