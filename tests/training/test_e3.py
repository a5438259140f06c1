from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.tasks.residues import SIZES, Problem
from decoders.core.messages import Prompt, Sampling
from decoders.core.task import Model
from decoders.prompts import Pack
from server.engines.scripted import ScriptedEngine
from training.configuration import settings
from training.curriculum import Stage
from training.play import POLICY, Play
from training.recipes import e3, residues_sft
from training.recipes.e3 import E3, Config
from training.rows import Row
from training.studies import e3 as study

PROBLEM = Problem(20, ((7, 3), (5, 2)))
RIGHT = "<think> try 9 7 2 no try 17 7 3 ok 5 2 ok yes </think> 17"
WRONG = "<think> try 9 7 2 no </think> 4"
LATE = "<think> " + "try 9 7 2 no " * 6 + "try 17 7 3 ok 5 2 ok yes </think> 17"


def config(**changes: Any) -> Config:
    stages = [Stage(steps=2, levels={"easy": 1}, budget=20), Stage(steps=2, levels={"medium": 1, "hard": 1}, budget=60)]
    return Config.model_validate({"stages": stages, "group": 4, "batch": 6, **changes})


def play(replies: Sequence[str]) -> Play:
    """A policy whose K-th chain is the K-th reply."""
    engine = ScriptedEngine(replies, model=POLICY)
    return Play({POLICY: Model(engine, Pack.load("residues"))}, Sampling(max_tokens=1), 0, 0)


def episode(recipe: E3, replies: Sequence[str], problem: Problem = PROBLEM) -> list[Row]:
    return list(asyncio.run(recipe.episode(problem, play(replies))))


def test_difficulty_and_budget_change_together() -> None:
    recipe, seen = E3(config()), []
    for step in range(5):
        problems = recipe.problems(step)
        assert len(problems) == 6
        assert all(p.split == "train" for p in problems)  # type: ignore[attr-defined]
        ranges = {p.largest for p in problems}  # type: ignore[attr-defined]
        seen.append((ranges <= set(SIZES["easy"][0]), recipe.metrics()["budget"]))
    assert seen == [(True, 20), (True, 20), (False, 60), (False, 60), (False, 60)]


def test_a_chain_is_worth_its_answer_and_nothing_where_the_budget_cut_it() -> None:
    recipe = E3(config())
    recipe.problems(0)
    rows = episode(recipe, [RIGHT, WRONG, LATE, WRONG])
    assert [row.reward for row in rows] == [1, 0, 0, 0]
    assert [len(row.completion) for row in rows] == [17, 8, 20, 8]
    assert rows[0].advantage == pytest.approx(3**0.5, abs=1e-4)
    assert all(row.advantage == pytest.approx(-(3**-0.5), abs=1e-4) for row in rows[1:])
    assert recipe.metrics()["cut"] == 0.25
    recipe.problems(2)
    assert [row.reward for row in episode(recipe, [RIGHT, WRONG, LATE, WRONG])] == [1, 0, 1, 0]


def test_an_answer_that_is_cut_scores_nothing_even_if_the_right_number_stands_there() -> None:
    recipe = E3(config(stages=[Stage(steps=1, levels={"easy": 1}, budget=16)]))
    recipe.problems(0)
    longer = RIGHT.replace("try 9 7 2 no ", "") + " and more words here than fit"
    (row, *_) = episode(recipe, [longer] * 4)
    assert len(row.completion) == 16
    assert row.reward == 0


def test_the_rule_measures_chains_without_learning_from_them_and_takes_the_smallest_budget_that_fits() -> None:
    stages = [Stage(steps=9, levels={"medium": 1}, budget="rule")]
    recipe = E3(config(stages=stages, budgets=(8, 16, 32, 64, 128), probes=3))
    assert len(recipe.problems(0)) == 3
    for _ in range(3):
        rows = episode(recipe, [RIGHT, LATE, WRONG, WRONG])
        assert [(row.kind, row.advantage) for row in rows] == [("probe", 0.0)] * 4
    # J(8) = J(16) = 0, J(32) = 1/4, J(64) = J(128) = 1/2
    assert len(recipe.problems(1)) == 6
    assert recipe.metrics()["budget"] == 64
    assert [row.kind for row in episode(recipe, [RIGHT, WRONG, WRONG, WRONG])] == ["solve"] * 4


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_recipe_that_is_restored_goes_on_as_if_nothing_had_happened(steps: int) -> None:
    stages = [Stage(steps=3, levels={"easy": 1}, budget="rule"), Stage(steps=3, levels={"hard": 1}, budget=64)]
    changes: dict[str, Any] = {"stages": stages, "tokens": 600, "probes": 2}
    one, two = E3(config(**changes)), E3(config(**changes))
    for step in range(steps):
        one.problems(step)
        episode(one, [RIGHT, LATE, WRONG, WRONG])
    two.restore(json.loads(json.dumps(one.state())))
    two.rng.setstate(one.rng.getstate())
    assert one.problems(steps) == two.problems(steps)
    assert one.metrics() == two.metrics()


def test_steps_cost_the_same_whatever_the_lengths() -> None:
    recipe = E3(config(tokens=1200, stages=[Stage(steps=9, levels={"medium": 1}, budget=60)]))
    assert len(recipe.problems(0)) == 6
    rows = episode(recipe, [LATE, LATE, WRONG, WRONG])
    spent = sum(len(row.prompt) + len(row.completion) for row in rows)
    assert len(recipe.problems(1)) == round(1200 / spent)


@pytest.mark.parametrize("preset", e3.PRESETS)
def test_presets_are_settings(preset: str) -> None:
    assert isinstance(settings(e3, preset, None, []), Config)


def test_a_short_run_measures_its_budget_and_writes_a_model(tmp_path: Path) -> None:
    start = residues_sft.Config(steps=1, short=2, long=1, longest=20, output=tmp_path / "start", width=32, layers=1)
    stages = [Stage(steps=2, levels={"easy": 1}, budget="rule")]
    changes: dict[str, Any] = {"budgets": (8, 16), "probes": 2, "batch": 2, "steps": 2, "device": "cpu"}
    chosen = config(model=residues_sft.train(start), output=tmp_path / "run", stages=stages, **changes)
    folder = e3.train(chosen)
    torch.use_deterministic_algorithms(False)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["budget"] for line in lines] == [16, 8]
    assert lines[0]["grad_norm"] == 0
    assert (folder / "model.safetensors").exists()
    assert "length/probe" in lines[0]


def test_the_prompt_is_the_decoder_s_own() -> None:
    asked: list[str] = []

    def reply(prompt: Prompt, _: int) -> str:
        asked.append(prompt.messages[0].content)
        return RIGHT

    recipe = E3(config())
    recipe.problems(0)
    engine = ScriptedEngine(reply, model=POLICY)
    policy = Play({POLICY: Model(engine, Pack.load("residues"))}, Sampling(max_tokens=1), 0, 0)
    asyncio.run(recipe.episode(PROBLEM, policy))
    assert asked == [PROBLEM.question] * 4


def test_arms_of_the_study_differ_in_their_curriculum_alone() -> None:
    made = {}
    for name, arm in study.ARMS.items():
        made[name] = settings(e3, arm.preset, None, [f"{k}={json.dumps(v)}" for k, v in arm.settings.items()])
    costs = {name: (c.steps, c.tokens, c.learning_rate) for name, c in made.items()}  # type: ignore[attr-defined]
    for kind in (True, False):
        assert len({cost for name, cost in costs.items() if name.endswith("noisy") == kind}) == 1
    for chosen in made.values():
        assert sum(stage.steps for stage in chosen.stages) == chosen.steps  # type: ignore[attr-defined]
    masked = made.pop("masked").model_dump()
    assert masked | {"loss": None} == made["coupled"].model_dump() | {"loss": None}
