"""What MRT makes of thoughts whose words and forced answers are known."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

from benchmarks.tasks.residues import Problem
from decoders.core.messages import Prompt, Sampling
from decoders.core.task import Model
from decoders.prompts import Pack
from server.engines.scripted import ScriptedEngine
from training.configuration import merged
from training.evaluate import evaluate
from training.play import POLICY, Play
from training.recipes import mrt, mrt_star, residues_sft
from training.recipes.mrt import MRT, Config
from training.recipes.mrt_star import Star
from training.rows import Row, centred, normalised
from training.settings import Evaluation, Loss
from training.studies.mrt import ARMS, MEASURES

ENDING = {"closing": "", "answer_tokens": 4}
PROBLEM = Problem(20, ((7, 3), (5, 2)))
FOUND = "<think> try 9 7 2 no try 17 7 3 ok 5 2 ok yes </think> 17"
AT_ONCE = "<think> try 17 7 3 ok 5 2 ok yes </think> 17"
LUCKY = "<think> try 9 7 2 no </think> 17"
WRONG = "<think> try 9 7 2 no </think> 4"


def play(thoughts: Sequence[str], step: int = 0) -> Play:
    """A policy that thinks these thoughts, and whose forced answers are right where one has come to `yes`."""
    left = iter(thoughts)

    def reply(prompt: Prompt, seed: int) -> str:
        if prompt.prefix:
            return "17" if "yes" in prompt.prefix else "4"
        return next(left)

    engine = ScriptedEngine(reply, model=POLICY)
    return Play({POLICY: Model(engine, Pack.load("residues"))}, Sampling(max_tokens=1), step, 0)


def config(**changes: Any) -> Config:
    return Config.model_validate(
        {"ending": ENDING, "group": 4, "max_tokens": 60, "loss": {"advantage": "centred"}, **changes}
    )


def episode(thoughts: Sequence[str], **changes: Any) -> list[Row]:
    recipe = MRT(config(group=len(thoughts), **changes))
    return list(asyncio.run(recipe.episode(PROBLEM, play(thoughts))))


def test_each_episode_is_paid_for_its_own_progress() -> None:
    found, wrong = episode([FOUND, WRONG])
    assert found.advantage == pytest.approx((0.5,) * 6 + (0.5 + 1,) * 9 + (0.5,) * 2)
    assert wrong.advantage == pytest.approx((-0.5,) * len(wrong.completion))
    assert (found.reward, wrong.reward) == (1, 0)


def test_an_answer_is_paid_for_what_it_adds_to_one_that_is_forced() -> None:
    (lucky, *_) = episode([LUCKY, WRONG])
    assert lucky.advantage == pytest.approx((0.5,) * 6 + (0.5 + 1,) * 2)


def test_with_full_reach_termination_is_the_baseline_of_all_that_follows() -> None:
    found, wrong = episode([FOUND, WRONG], outcome=0, reach=1)
    assert found.advantage == (1,) * 15 + (0,) * 2  # r - J where the episode begins, and J is 1 behind `yes`
    assert wrong.advantage == (0,) * len(wrong.completion)


def test_without_weight_it_is_grpo_and_asks_for_no_answers() -> None:
    recipe, policy = MRT(config(progress=0, loss=Loss())), play([FOUND, WRONG, WRONG, WRONG])
    rows = asyncio.run(recipe.episode(PROBLEM, policy))
    assert [row.advantage for row in rows] == normalised([1, 0, 0, 0])
    assert recipe.metrics() == {"spent": sum(len(row.completion) for row in rows)}


THOUGHTS = [FOUND, AT_ONCE, LUCKY, WRONG]
GAINS = [[0, 1, 0], [1, 0], [0, 1], [0, 0]]
"""Progress of the episodes and of the answer behind them."""
REWARDS = [1.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("weight", [0.5, 4.0])
def test_the_algebra_trap_a_bonus_on_the_whole_trace_cancels_and_ours_does_not(weight: float) -> None:
    """Whatever way a thought took, its progress sums to r - J(c_0), and J(c_0) is one number for the group."""
    naive = [reward + weight * sum(gains) for reward, gains in zip(REWARDS, GAINS, strict=True)]
    assert normalised(naive) == pytest.approx(normalised(REWARDS), abs=1e-4)
    assert centred(naive) == pytest.approx([(1 + weight) * own for own in centred(REWARDS)])
    plain = normalised(REWARDS)
    rows = episode(THOUGHTS, progress=weight, loss=Loss())
    for row, gains, outcome in zip(rows, GAINS, plain, strict=True):
        assert isinstance(row.advantage, tuple)
        assert sorted({round(a - outcome, 6) for a in row.advantage}) == sorted({weight * gain for gain in gains})
    # three thoughts are right, and no pure function of their outcome could tell them apart
    assert len({fmean(row.advantage) for row in rows[:3]}) == 3  # type: ignore[arg-type]


def test_a_penalty_makes_the_shorter_of_two_right_answers_better() -> None:
    long, short, wrong = episode([FOUND, AT_ONCE, WRONG], progress=0, length_penalty=0.6)
    assert short.advantage - long.advantage == pytest.approx(0.6 * 5 / 60)  # type: ignore[operator]
    assert long.advantage > wrong.advantage  # type: ignore[operator]
    assert [row.reward for row in (long, short, wrong)] == [1, 1, 0]


def test_a_step_costs_the_same_with_probes_and_without() -> None:
    for weight in (0.0, 1.0):
        recipe = MRT(config(progress=weight, tokens=600, batch=3))
        assert len(recipe.problems(0)) == 3
        policy = play([FOUND] * 4)
        rows = asyncio.run(recipe.episode(PROBLEM, policy))
        spent = recipe.metrics()["spent"]
        # forced answers of a word: two behind the empty thought, two behind each of two episodes that all four share
        assert spent == sum(len(row.completion) for row in rows) + (6 if weight else 0)
        again = MRT(recipe.config)
        again.restore(json.loads(json.dumps(recipe.state())))
        again.rng.setstate(recipe.rng.getstate())
        drawn = recipe.problems(1)
        assert len(drawn) == round(600 / spent)
        assert drawn == again.problems(1)
        assert all(problem.split == "train" for problem in drawn)  # type: ignore[attr-defined]


def test_metrics_say_what_thinking_is_worth() -> None:
    recipe = MRT(config())
    asyncio.run(recipe.episode(PROBLEM, play([FOUND, AT_ONCE, LUCKY, WRONG])))
    told = recipe.metrics()
    assert (told["episodes"], told["at_once"], told["ended"]) == (1.25, 0, 0.5)


def star(**changes: Any) -> Star:
    given = {"ending": ENDING, "group": 3, "max_tokens": 60, "gather": 1, "pool": 9, "batch": 1, "rows": 4}
    return Star(mrt_star.Config.model_validate({**given, **changes}))


def kept(recipe: Star, policy: Play) -> list[str]:
    """What is imitated after an episode, as text."""
    recipe.problems(0)
    sampled = asyncio.run(recipe.episode(PROBLEM, policy))
    assert all(row.advantage == 0 for row in recipe.replay(sampled))
    assert recipe.problems(1) == []
    rows = recipe.replay([])
    assert all(row.advantage == 1.0 for row in rows)
    return [asyncio.run(policy.text(row.completion)) for row in rows]


def test_of_right_thoughts_the_one_is_kept_that_found_the_answer_with_fewest_tokens() -> None:
    recipe = star(group=4)
    assert kept(recipe, play([FOUND, LUCKY, AT_ONCE, WRONG])) == [AT_ONCE.replace(" </think> ", "\n</think>\n\n")]
    assert recipe.metrics()["kept"] == 1


def test_a_thought_is_cut_where_its_progress_ends() -> None:
    rambling = "<think> try 17 7 3 ok 5 2 ok yes try 9 7 2 no </think> 17"
    assert kept(star(), play([rambling, WRONG, WRONG])) == [AT_ONCE.replace(" </think> ", "\n</think>\n\n")]


def test_a_right_answer_that_no_episode_has_brought_about_is_not_kept() -> None:
    recipe = star()
    recipe.problems(0)
    asyncio.run(recipe.episode(PROBLEM, play([LUCKY, WRONG, LUCKY])))
    assert recipe.metrics()["kept"] == 0
    assert len(recipe.problems(1)) == 1  # there is nothing to imitate yet


def test_star_keeps_what_ends_right_as_it_is() -> None:
    assert kept(star(progress=0), play([WRONG, LUCKY, AT_ONCE])) == [LUCKY]


def test_what_is_kept_lives_through_a_checkpoint_and_is_drawn_up_to_a_number_of_tokens() -> None:
    recipe = star(tokens=20)
    for _ in range(3):
        recipe.problems(0)
        asyncio.run(recipe.episode(PROBLEM, play([FOUND, WRONG, WRONG])))
    again = star(tokens=20)
    again.restore(json.loads(json.dumps(recipe.state())))
    assert again.problems(1) == []
    assert len(again.replay([])) == 1


@pytest.mark.parametrize("module", [mrt, mrt_star])
@pytest.mark.parametrize("preset", ["paper", "tiny"])
def test_presets_are_valid(module: Any, preset: str) -> None:
    assert module.Config.model_validate(module.PRESETS[preset]).group > 1


def test_the_arms_of_the_study_cost_the_same_but_the_one_that_says_so() -> None:
    modules = {"mrt": mrt, "mrt_star": mrt_star}
    costs = {}
    for name, arm in ARMS.items():
        made = modules[arm.recipe].Config.model_validate(merged(modules[arm.recipe].PRESETS["tiny"], arm.settings))
        costs[name] = (getattr(made, "gather", made.steps), made.tokens)
        assert "{seed}" in str(made.model)
    assert costs.pop("outcome-cpu") > costs["outcome"]
    assert set(costs.values()) == {(120, 5000)}


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_a_measure_ends_thoughts_at_its_budget_and_asks_for_the_answer(measure: Evaluation) -> None:
    own = play(["<think> " + "try 9 7 2 no " * 80] * 3)
    result = asyncio.run(evaluate(measure.model_copy(update={"problems": 3}), own.models, Sampling(max_tokens=1), 0))
    assert result.tokens == int(measure.name.split()[1]) + 1


def test_a_short_run_of_each_form_writes_a_model(tmp_path: Path) -> None:
    start = residues_sft.Config(steps=1, short=2, long=1, longest=20, output=tmp_path / "start", width=32, layers=1)
    same = {"model": str(residues_sft.train(start)), "ending": ENDING, "max_tokens": 12, "steps": 2, "device": "cpu"}
    changes = {**same, "pool": 9, "batch": 2, "group": 2}
    for module, more in ((mrt, {}), (mrt_star, {"gather": 1})):
        folder = tmp_path / module.__name__
        made = module.train(module.Config.model_validate({**changes, **more, "output": str(folder)}))  # type: ignore[attr-defined]
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [1, 2]
        assert (made / "model.safetensors").exists()
    torch.use_deterministic_algorithms(False)
