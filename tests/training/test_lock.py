"""The lock: what guidance does where chance never finds a reward, and that no guide is ever learned."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from decoders.core.messages import Message, Prompt, Sampling
from training import lock
from training.lock import LENGTH, METHODS, Lock, Outcome, TableEngine
from training.rows import Row

ONE = Lock((0, 1, 2, 3, 3, 2, 1, 0, 0, 1))


def sample(engine: TableEngine, prompt: Prompt, n: int = 16) -> list[tuple[int, ...]]:
    async def run() -> list[tuple[int, ...]]:
        return [chunk.token_ids async for chunk in engine.generate(prompt, Sampling(max_tokens=LENGTH, seed=1, n=n))]

    return asyncio.run(run())


def test_a_hint_is_repeated_and_a_prefix_continued() -> None:
    hinted = sample(TableEngine(), Prompt((Message("user", "Open the lock.\n3 0 2\nGo on."),)))
    assert {digits[:3] for digits in hinted} == {(3, 0, 2)}
    assert {len(digits) for digits in hinted} == {LENGTH}
    assert len(set(hinted)) == len(hinted)
    begun = sample(TableEngine(), Prompt((Message("user", "Open the lock."),), prefix="3 0 2"))
    assert {len(digits) for digits in begun} == {LENGTH - 3}


@pytest.mark.parametrize("placement", ["prefix", "hint"])
def test_what_was_shown_has_no_gradient(placement: str) -> None:
    engine = TableEngine()
    told = [Message("user", "Open it: 0 1 2")] if placement == "hint" else [Message("user", "Open it")]
    prompt = asyncio.run(engine.tokenize(Prompt(tuple(told), prefix="" if placement == "hint" else "0 1 2")))
    said = ONE.combination if placement == "hint" else ONE.combination[3:]
    engine.learn([Row(prompt, said, 1.0)])
    assert not engine.logits[:3].any()
    assert (engine.logits[3:].argmax(1) == ONE.combination[3:]).all()


def test_probabilities_and_the_check_agree() -> None:
    engine = TableEngine()
    assert engine.success(ONE) == pytest.approx(4.0**-LENGTH)
    engine.logits[range(LENGTH), list(ONE.combination)] = 3.0
    drawn = sample(engine, Prompt((Message("user", "Open the lock."),)), n=4000)
    right = np.mean([ONE.check(" ".join(map(str, digits))) for digits in drawn])
    assert right == pytest.approx(engine.success(ONE), abs=0.03)


def test_plain_reinforcement_learns_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for method in ("plain RL, n = 8", "plain RL, n = 64"):
        monkeypatch.setitem(METHODS, method, (4, METHODS[method][1]))
        outcome = lock.solve(method, 0)
        assert not outcome.solved
        assert outcome.success == pytest.approx(4.0**-LENGTH)
        assert outcome.samples == 4 * 4 * int(method.rpartition(" ")[2])


@pytest.mark.parametrize(
    "method", ["PrefixRL, a new cut at every visit", "POPE, shortest hint, refreshed every 20 steps"]
)
def test_guidance_that_follows_the_policy_opens_the_lock(method: str) -> None:
    outcome = lock.solve(method, 0)
    assert outcome.solved
    assert outcome.steps < 150


def test_without_plain_copies_only_the_end_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    method = "PrefixRL, prefixed copies only"
    monkeypatch.setitem(METHODS, method, (40, METHODS[method][1]))
    outcome = lock.solve(method, 0)
    # what lies before the earliest cut stays chance: between 4 and 8 of 10 digits
    assert 4.0**-8 <= outcome.success <= 1.1 * 4.0**-4


def test_the_table_says_where_nothing_was_solved() -> None:
    assert lock.line("plain RL, n = 8", [Outcome(False, 750, 24000, 9.5e-7)] * 2)[1:4] == ["0 of 2", "> 750", "—"]
    solved = [Outcome(True, steps, 100, 0.5) for steps in (10, 30, 20)]
    assert lock.line("POPE, shortest hint, fixed", solved)[1:4] == ["3 of 3", "20", "10 to 30"]
