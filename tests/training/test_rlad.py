"""What RLAD makes of an episode, with a scripted model whose abstractions and solutions are known."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.tasks.sequences import named
from decoders.core.messages import Prompt, Sampling
from decoders.core.task import Model
from decoders.prompts import Pack
from server.engines.scripted import Reply, ScriptedEngine
from training.configuration import merged
from training.evaluate import evaluate
from training.play import POLICY, Play
from training.recipes import rlad, rlad_offline
from training.recipes.rlad import ABSTRACTION, RLAD
from training.rows import Row
from training.settings import Evaluation
from training.studies.rlad import ARMS, MEASURES

PROBLEM = named("2-5-8-11-14-17")
RIGHT, WRONG = "20 23 26 29", "20 26 35 47"


def reply(prompt: Prompt, seed: int) -> str:
    """Proposes a good, a bad and a telling abstraction in turn, and follows what it is given."""
    asked = prompt.messages[-1].content
    if asked.endswith("give hint"):
        return ("constant + 3", "grow + 3 + 6", RIGHT)[seed % 3]
    return RIGHT if "constant" in asked else WRONG


def play(policies: Sequence[str] = (POLICY,), step: int = 0, says: Reply = reply) -> Play:
    engines = {name: ScriptedEngine(says, model=name) for name in policies}
    models = {name: Model(engine, Pack.load("sequences")) for name, engine in engines.items()}
    models.setdefault(ABSTRACTION, models[POLICY])
    return Play(models, Sampling(max_tokens=1), step, 0, "0")


def config(**changes: Any) -> rlad.Config:
    return rlad.Config.model_validate(
        {"pool": 60, "group": 6, "per_abstraction": 3, "shortest": 1, "bare": 0.0, **changes}
    )


def rows(kind: str, found: Sequence[Row]) -> list[Row]:
    return [row for row in found if row.kind == kind]


def test_an_abstraction_is_worth_the_mean_success_of_its_solutions() -> None:
    found = asyncio.run(RLAD(config()).episode(PROBLEM, play()))
    said = rows(ABSTRACTION, found)
    assert sorted({row.reward for row in said}) == [0.0, 1.0]
    assert sum(row.advantage for row in said) == pytest.approx(0)  # type: ignore[misc]
    for row in said:
        assert (row.advantage > 0) == (row.reward == 1.0)  # type: ignore[operator]


def test_solutions_are_a_group_under_their_own_prompt() -> None:
    found = rows("solution", asyncio.run(RLAD(config()).episode(PROBLEM, play())))
    assert len(found) == 18
    assert {row.reward for row in found} == {0.0, 1.0}
    assert all(row.advantage == 0 for row in found)  # within each group all are right, or all are wrong


def test_bare_solutions_are_shown_and_not_rewarded() -> None:
    found = asyncio.run(RLAD(config(bare=0.5)).episode(PROBLEM, play()))
    bare = rows("bare", found)
    assert len(bare) == 18
    assert all(row.advantage == 0 for row in bare)


def test_an_abstraction_that_the_decoder_drops_is_worth_nothing() -> None:
    """The plain solutions say `WRONG`, so an abstraction that says it too would give an answer away."""

    def telling(prompt: Prompt, seed: int) -> str:
        asked = prompt.messages[-1].content
        return (WRONG if seed % 2 else "constant + 3") if asked.endswith("give hint") else reply(prompt, seed)

    found = rows(ABSTRACTION, asyncio.run(RLAD(config(bare=0.5)).episode(PROBLEM, play(says=telling))))
    assert {row.reward for row in found} == {0.0, 1.0}


def test_an_abstraction_that_is_the_answer_is_worth_nothing() -> None:
    def telling(prompt: Prompt, seed: int) -> str:
        asked = prompt.messages[-1].content
        return (RIGHT if seed % 2 else "constant + 3") if asked.endswith("give hint") else RIGHT

    found = rows(ABSTRACTION, asyncio.run(RLAD(config()).episode(PROBLEM, play(says=telling))))
    assert {row.reward for row in found} == {0.0, 1.0}


def test_with_two_policies_rows_name_the_one_that_wrote_them() -> None:
    recipe = RLAD(config(policies="two"))
    assert set(recipe.cast().values()) == {POLICY, ABSTRACTION}
    found = asyncio.run(recipe.episode(PROBLEM, play((POLICY, ABSTRACTION))))
    assert {row.policy for row in rows(ABSTRACTION, found)} == {ABSTRACTION}
    assert {row.policy for row in rows("solution", found)} == {POLICY}
    assert set(RLAD(config()).cast().values()) == {POLICY}


@pytest.mark.parametrize(("trained", "kinds"), [("abstractions", {ABSTRACTION}), ("solutions", {"solution"})])
def test_a_stage_trains_one_role(trained: str, kinds: set[str]) -> None:
    found = asyncio.run(RLAD(config(trained=trained)).episode(PROBLEM, play()))
    assert {row.kind for row in found} == kinds


def test_the_control_has_no_abstractions_and_one_group_of_solutions() -> None:
    found = asyncio.run(RLAD(config(trained="plain")).episode(PROBLEM, play()))
    assert len(rows("solution", found)) == len(found) == 18


def test_problems_are_of_the_training_split() -> None:
    found = RLAD(config(batch=40)).problems(0)
    assert len(found) == 40
    assert {named(problem.id).split for problem in found} == {"train"}


def offline(**changes: Any) -> rlad_offline.Offline:
    given = {"pool": 9, "group": 6, "per_abstraction": 3, "shortest": 1, "bare": 0.2, "gather": 1, "batch": 4}
    return rlad_offline.Offline(rlad_offline.Config.model_validate({**given, **changes}))


def test_offline_useful_abstractions_are_kept_and_imitated_later() -> None:
    recipe = offline()
    gathered = asyncio.run(recipe.episode(PROBLEM, play()))
    assert gathered
    assert all(row.advantage == 0 for row in gathered)
    recipe.pool[PROBLEM.id] = PROBLEM
    assert [problem.id for problem in recipe.problems(1)] == [PROBLEM.id]
    again = offline()
    again.restore(recipe.state())  # type: ignore[arg-type]
    for later in (recipe, again):
        found = asyncio.run(later.episode(PROBLEM, play(step=1)))
        assert [row.kind for row in found] == [ABSTRACTION, "solution"]
        assert all(row.advantage == row.reward == 1.0 for row in found)
    assert not rows("solution", asyncio.run(offline(trained="abstractions").episode(PROBLEM, play())))


def test_offline_an_abstraction_that_helps_no_more_than_none_is_not_kept() -> None:
    def easy(prompt: Prompt, seed: int) -> str:
        return "constant + 3" if prompt.messages[-1].content.endswith("give hint") else RIGHT

    recipe = offline()
    assert not asyncio.run(recipe.episode(PROBLEM, play(says=easy)))
    assert recipe.metrics() == {"useful": 0.0}


@pytest.mark.parametrize("module", [rlad, rlad_offline])
@pytest.mark.parametrize("preset", ["paper", "tiny"])
def test_presets_are_valid(module: Any, preset: str) -> None:
    assert module.Config.model_validate(module.PRESETS[preset]).group > 1
    assert isinstance(module.Config().output, Path)


@pytest.mark.parametrize("arm", ARMS)
def test_the_arms_of_the_study_can_be_trained(arm: str) -> None:
    module = {"rlad": rlad, "rlad_offline": rlad_offline}[ARMS[arm].recipe]
    made = module.Config.model_validate(merged(module.PRESETS["tiny"], ARMS[arm].settings))
    assert "{seed}" in str(made.model)


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_the_measures_of_the_study_ask_what_the_pack_can_answer(measure: Evaluation) -> None:
    own = play()
    small = measure.model_copy(update={"problems": 3})
    result = asyncio.run(evaluate(small, own.models, Sampling(max_tokens=1), 0))
    assert len(result.right) == 3
    assert result.tokens > 0


def test_an_oracle_counts_any_solution_that_is_right() -> None:
    """One of the scripted abstractions in three is good, so a vote fails where coverage does not."""
    options = {"name": "rlad", "abstractions": 6, "per_abstraction": 1, "plain": 3, "abstraction_model": ABSTRACTION}
    wanted = Evaluation(name="any", task="sequences", level="easy", problems=40, decoder=options)

    def right(oracle: bool) -> float:
        measure = wanted.model_copy(update={"oracle": oracle})
        return asyncio.run(evaluate(measure, play(says=lucky).models, Sampling(max_tokens=1), 0)).accuracy

    assert right(oracle=True) > right(oracle=False)


def lucky(prompt: Prompt, seed: int) -> str:
    """Goes on in equal steps where it is told so, and otherwise badly."""
    asked = prompt.messages[-1].content
    if asked.endswith("give hint"):
        return f"constant + {seed % 7}"
    *_, last = map(int, re.findall(r"\d+", asked.split(" . ")[0]))
    step = int(asked.rpartition("+ ")[2]) if "hint" in asked else 0
    return " ".join(str(last + step * place) for place in (1, 2, 3, 4))
