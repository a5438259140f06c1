"""The guidance study: arms are compared where all of them have spent as much, whatever they spent it on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from training import record
from training.configuration import merged
from training.evaluate import Result
from training.recipes import imitate, pope, prefixrl
from training.recipes import int as interventions
from training.studies import guidance
from training.study import Arm

RECIPES = {"imitate": imitate, "int": interventions, "pope": pope, "prefixrl": prefixrl}
NAME = guidance.MEASURES[0].name


def write(folder: Path, costs: list[float], right: dict[int, int]) -> None:
    """A run whose steps cost that much, with so many of ten problems right behind some of them."""
    metrics, measured = record.Lines(folder / "metrics.jsonl", 0), record.Lines(folder / "evaluations.jsonl", 0)
    for step, cost in enumerate(costs):
        metrics.add({"step": step + 1, "compute": cost, "reward/plain": 0.5, "seconds": 60, "cpu_seconds": 60})
    for step, count in right.items():
        measured.add(record.as_line(Result(NAME, step, {str(i): i < count for i in range(10)}, 5.0)))


def test_arms_are_compared_at_equal_compute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traces = tmp_path / "traces.jsonl"
    traces.write_text('{"tokens": 30}\n{"tokens": 10}\n')
    monkeypatch.setattr(guidance, "TRACES", str(traces))
    write(tmp_path / "sft-1", [20.0], {})
    write(tmp_path / "plain-1", [10.0] * 10, {0: 0, 5: 1, 10: 2})
    write(tmp_path / "sft-rl-1", [20.0] * 5, {0: 3, 1: 4, 2: 5, 5: 9})
    heads, lines = guidance.more(tmp_path, ["sft", "plain", "sft-rl"], [1])
    assert heads[2:5] == ["at 0.00 M", "at 0.00 M", "at 0.00 M"]
    shown = {arm: [cell.partition(" ")[0] for cell in cells] for arm, name, *cells in lines if name == NAME}
    # all have spent 100: plain had 25, 50 and 100; the other one begins at 40 + 20 and so had two steps in the end
    assert shown["plain"][:3] == ["0.0", "10.0", "20.0"]
    assert shown["sft-rl"][:3] == ["30.0", "30.0", "50.0"]
    assert "sft" not in shown


@pytest.mark.parametrize("arm", guidance.ARMS)
def test_arms_are_settings(arm: str) -> None:
    chosen: Arm = guidance.ARMS[arm]
    recipe: Any = RECIPES[chosen.recipe]
    made = recipe.Config.model_validate(merged(recipe.PRESETS["tiny"], chosen.settings))
    assert str(made.traces) == guidance.TRACES
    if chosen.recipe not in ("imitate", "int"):
        assert (made.guidance.guided == 0) == (arm in ("plain", "sft-rl", "int-rl"))
