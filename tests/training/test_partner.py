"""A run with two policies: each learns its own rows, and a run that was killed ends as one that was not."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.tasks import Problem
from training import tiny
from training.partner import Partner
from training.play import POLICY, Play
from training.policy import load
from training.recipes.rlad import ABSTRACTION, RLAD, Config
from training.reinforce import reinforce
from training.rows import Row
from training.teachers.sequences import WORDS


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    words = tiny.tokenizer(WORDS)
    net = tiny.model(7, words, width=32, layers=1, feed_forward=32)
    tiny.save(net, folder, words, pack="sequences", temperature=1.0, card="")
    return folder


def settings(start: Path, output: Path, **changes: Any) -> Config:
    given = {"steps": 3, "batch": 2, "group": 2, "per_abstraction": 1, "policies": "two", "save_every": 1, "parts": 1}
    small = {"abstraction_tokens": 4, "solution_tokens": 4, "shortest": 1, "device": "cpu", "learning_rate": 1e-2}
    return Config.model_validate({**given, **small, "model": start, "output": output, **changes})


class Paid(RLAD):
    """An untrained model never solves anything, so here each row is worth something by itself."""

    paid: Sequence[str] = (POLICY, ABSTRACTION)
    last: int = 99

    async def episode(self, problem: Problem, play: Play) -> Sequence[Row]:
        if play.step >= self.last:
            raise InterruptedError
        found = await super().episode(problem, play)
        return [
            Row(row.prompt, row.completion, 1.0, None, None, row.reward, row.kind, row.policy)
            for row in found
            if row.policy in self.paid
        ]


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("paid", [POLICY, ABSTRACTION])
def test_a_policy_learns_from_its_own_rows_alone(start: Path, tmp_path: Path, paid: str) -> None:
    class One(Paid):
        pass

    One.paid = (paid,)
    folder = reinforce(One, settings(start, tmp_path))
    moved = {POLICY: weights(folder) != weights(start), ABSTRACTION: weights(folder / ABSTRACTION) != weights(start)}
    assert moved == {POLICY: paid == POLICY, ABSTRACTION: paid == ABSTRACTION}
    assert (folder / ABSTRACTION / "longthink.json").exists()


@pytest.mark.parametrize("rank", [0, 2])
def test_a_run_of_two_policies_goes_on_as_if_it_had_not_been_interrupted(
    start: Path, tmp_path: Path, rank: int
) -> None:
    class Interrupted(Paid):
        last = 2

    whole = reinforce(Paid, settings(start, tmp_path / "whole", rank=rank))
    with pytest.raises(InterruptedError):
        reinforce(Interrupted, settings(start, tmp_path / "resumed", rank=rank))
    resumed = reinforce(Paid, settings(start, tmp_path / "resumed", rank=rank))
    assert weights(resumed) == weights(whole)
    assert weights(resumed / ABSTRACTION) == weights(whole / ABSTRACTION)


def test_what_fails_in_the_second_trainer_is_raised_where_its_rows_come_from(start: Path, tmp_path: Path) -> None:
    config = settings(start, tmp_path)
    partner = Partner(config, ABSTRACTION, load(config))
    partner.begin(None)
    unknown = 10**6  # there is no such token
    try:
        with pytest.raises(IndexError):
            partner.learn([Row((1,), (unknown,), 1.0)])
    finally:
        partner.end()


def test_two_adapters_share_the_weights_that_they_leave_alone(start: Path, tmp_path: Path) -> None:
    config = settings(start, tmp_path, rank=2)
    policy = load(config)
    partner = Partner(config, ABSTRACTION, policy)
    own, other = (dict(model.named_parameters()) for model in (policy, partner.model))
    trained = {name for name in own if own[name].requires_grad}
    assert trained
    assert all(".lora_" in name for name in trained)
    assert trained == {name for name in own if own[name].data_ptr() != other[name].data_ptr()}
    partner.end()


@pytest.mark.parametrize("paid", [POLICY, ABSTRACTION])
def test_each_of_two_adapters_learns_its_own_rows_and_is_merged(start: Path, tmp_path: Path, paid: str) -> None:
    class One(Paid):
        pass

    One.paid = (paid,)
    folder = reinforce(One, settings(start, tmp_path, rank=2))
    changed = {name: differing(start, folder / place) for name, place in ((POLICY, "."), (ABSTRACTION, ABSTRACTION))}
    assert not changed.pop(ABSTRACTION if paid == POLICY else POLICY)
    assert all(name.endswith("_proj.weight") for name in changed[paid])
    assert len(changed[paid]) == 7


def differing(start: Path, trained: Path) -> set[str]:
    """Names of the tensors that training changed; both checkpoints have the same ones."""
    before, after = (load_file(folder / "model.safetensors") for folder in (start, trained))
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}
