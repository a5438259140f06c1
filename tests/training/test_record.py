"""What a run writes: files that a kill leaves usable, and a card that says what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.tasks import Problem
from training import record
from training.evaluate import Result
from training.play import Play
from training.recipe import Recipe
from training.rows import Row
from training.settings import OtherRun, Reinforcement


class Counting(Recipe[Reinforcement]):
    """Remembers how often it was asked."""

    name = "counting"
    paper = "none"
    asked = 0

    def problems(self, step: int) -> Sequence[Problem]:
        self.asked += 1
        return [self.rng.random()] * 0

    async def episode(self, problem: Problem, play: Play) -> Sequence[Row]:
        return []

    def state(self) -> Mapping[str, Any]:
        return {"asked": self.asked}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.asked = state["asked"]


def recipe(folder: Path) -> Counting:
    return Counting(Reinforcement(output=folder))


def test_lines_of_steps_that_are_done_again_are_dropped(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    first = record.Lines(file, 0)
    for step in range(1, 6):
        first.add({"step": step})
    with file.open("a") as cut:
        cut.write('{"step": 6, "lo')
    assert [line["step"] for line in record.Lines(file, 3).read()] == [1, 2, 3]
    assert record.Lines(file, 0).read() == []


def test_a_recipe_goes_on_where_it_was(tmp_path: Path) -> None:
    one, other = recipe(tmp_path), recipe(tmp_path)
    for _ in range(3):
        one.problems(0)
    record.save_state(one, tmp_path, 0)
    record.load_state(other, tmp_path, 0)
    assert other.asked == 3
    assert [other.rng.random() for _ in range(5)] == [one.rng.random() for _ in range(5)]


def test_an_unfinished_checkpoint_is_passed_over(tmp_path: Path) -> None:
    assert record.last_checkpoint(tmp_path, 2) is None
    for step, ranks in ((9, 2), (10, 2), (100, 1)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        for rank in range(ranks):
            record.save_state(recipe(tmp_path), folder, rank)
    assert record.last_checkpoint(tmp_path, 2) == tmp_path / "checkpoint-10"
    assert record.last_checkpoint(tmp_path, 1) == tmp_path / "checkpoint-100"


def test_the_card_has_both_ends_of_every_measurement(tmp_path: Path) -> None:
    measured = [
        Result("hard", 0, {"a": False, "b": False}, 100.0),
        Result("hard", 5, {"a": True, "b": False}, 90.0),
        Result("hard", 10, {"a": True, "b": True}, 80.0),
    ]
    card = record.card(recipe(tmp_path / "model"), {"step": 10, "loss": 0.5}, measured)
    assert "| hard | 0.0 % | 100.0 % | 2 | 80 |" in card
    assert "recipe `counting`" in card
    assert "seed 1, from `longthink-tiny`" in card
    assert json.dumps({"step": 10, "loss": 0.5}) in card


def test_a_run_of_other_settings_is_not_gone_on_with(tmp_path: Path) -> None:
    record.save_state(recipe(tmp_path), tmp_path, 0)
    record.load_state(Counting(Reinforcement(output=tmp_path, steps=200, evaluate_every=1, threads=2)), tmp_path, 0)
    with pytest.raises(OtherRun, match="has a run of another learning_rate, seed;"):
        record.load_state(Counting(Reinforcement(output=tmp_path, seed=2, learning_rate=1.0)), tmp_path, 0)
