"""RC training on the scripted engine: which states are drawn, what is kept, what becomes a row."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from benchmarks.tasks import Problem, load
from benchmarks.tasks.countdown import Problem as Countdown
from decoders.core.messages import Prompt, Sampling
from decoders.core.task import Model
from decoders.prompts import Pack
from server.engines.scripted import ScriptedEngine
from training.play import Play
from training.recipes.rc import PRESETS, RC, Config, train
from training.rows import Row
from training.teachers.countdown import say_all, solutions

HARD = load("countdown").problems("hard", "train", 4)
SMALL = {"pool": 4, "batch": 2, "group": 4, "reasoning_tokens": 40, "summary_tokens": 4}


class Script:
    """Counts turns in its summaries: `at 1`, `at 2` …; every second seed finds the solution."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.engine = ScriptedEngine(self._reply, model="policy")

    def _reply(self, prompt: Prompt, seed: int) -> str:
        first, last = prompt.messages[0].content, prompt.messages[-1].content
        self.asked.append(tuple(message.content for message in prompt.messages))
        if last == "summarise":
            return f"at {int(first.rpartition(' at ')[2] or 0) + 1}" if " at " in first else "at 1"
        problem = next(problem for problem in HARD if first.lower().startswith(problem.question.lower()))
        assert isinstance(problem, Countdown)
        return f"<think> try </think> {' '.join(say_all(solutions(problem)[0][1]))}" if seed % 2 else "<think> try"

    def play(self, step: int = 0) -> Play:
        return Play({"policy": Model(self.engine, Pack.load("tiny"))}, Sampling(max_tokens=1), step, 0)

    def steps(self, recipe: RC, steps: Sequence[int]) -> list[Row]:
        async def run() -> list[Row]:
            rows: list[Row] = []
            for step in steps:
                for place, problem in enumerate(recipe.problems(step)):
                    rows += await recipe.episode(problem, self.play(step).within(str(place)))
            return rows

        return asyncio.run(run())

    def text(self, ids: Sequence[int]) -> str:
        return asyncio.run(self.engine.detokenize(ids))

    def state(self, row: Row) -> str:
        """The summary in a row's prompt."""
        return self.text(row.prompt).partition(" progress :")[2].strip()


def recipe(**settings: Any) -> RC:
    return RC(Config.model_validate(SMALL | settings))


def visits(made: RC, n: int, script: Script, problem: Problem = HARD[0]) -> list[Row]:
    """`n` visits of one problem."""

    async def run() -> list[Row]:
        return [row for step in range(n) for row in await made.episode(problem, script.play(step))]

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("drawn", "expected"), [("begun", {"", "at 1", "at 2"}), ("all", {"", "at 1", "at 2", "at 3"})]
)
def test_states_are_drawn_from_the_empty_one_and_the_chains_own(drawn: str, expected: set[str]) -> None:
    script = Script()
    rows = visits(recipe(drawn=drawn), 20, script)
    assert {script.state(row) for row in rows} == expected
    for visit in range(20):
        groups = [{script.state(row) for row in rows[at : at + 4]} for at in (8 * visit, 8 * visit + 4)]
        assert all(len(group) == 1 for group in groups)
        assert groups[0] != groups[1]


def test_the_chain_is_the_served_decoders_and_rows_begin_as_its_turns_do() -> None:
    served, trained = Script(), Script()
    play = served.play().within("chain")
    asyncio.run(play.decode(HARD[0], play.decoder({"name": "rc", "turns": 4, "reasoning_tokens": 40}), 1000))
    made = recipe(drawn="all", states=4)
    rows = visits(made, 1, trained)
    assert trained.asked[:6] == served.asked[:6]
    turns = {asked for asked in served.asked if asked[-1] != "summarise"}
    assert set(trained.asked[6:]) == turns
    assert {trained.text(row.prompt) for row in rows} == {asked[0] for asked in turns}


def test_rows_are_reasoning_turns_judged_by_their_own_answers() -> None:
    script = Script()
    rows = visits(recipe(wrong=-1.0), 1, script)
    assert len(rows) == 8
    for row in rows:
        said = script.text(row.completion)
        assert row.kind == "reason"
        assert said.startswith("<think>")
        assert row.reward == float("</think>" in said)
        assert isinstance(row.advantage, float)
        assert (row.advantage > 0) == (row.reward == 1)
    assert abs(sum(row.advantage for row in rows[:4] if isinstance(row.advantage, float))) < 1e-9


def test_without_the_buffer_every_visit_begins_from_nothing() -> None:
    made, script = recipe(), Script()
    visits(made, 3, script)
    assert made.state()["kept"] == {}
    assert all("at 4" not in asked[0] for asked in script.asked)


def test_the_buffer_holds_the_last_visit_with_depths_that_grow() -> None:
    made, script = recipe(buffer=True), Script()
    visits(made, 1, script)
    assert made.state()["kept"] == {HARD[0].id: [["at 1", 1], ["at 2", 2], ["at 3", 3]]}
    for visit in range(1, 5):
        before = [depth for _, depth in made.state()["kept"][HARD[0].id]]
        asyncio.run(made.episode(HARD[0], script.play(visit)))  # type: ignore[arg-type]
        after = made.state()["kept"][HARD[0].id]
        assert after[0][1] - 1 in before
        assert [depth for _, depth in after] == [after[0][1] + turn for turn in range(3)]
        assert [summary for summary, _ in after] == [f"at {depth}" for _, depth in after]


def test_an_epoch_visits_every_problem_once() -> None:
    made = recipe()
    epochs = [[problem.id for step in (2 * i, 2 * i + 1) for problem in made.problems(step)] for i in range(3)]
    assert all(sorted(epoch) == sorted(problem.id for problem in HARD) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_recipe_that_is_restored_goes_on_exactly() -> None:
    undisturbed, script = recipe(buffer=True), Script()
    script.steps(undisturbed, range(3))
    saved, rng = json.dumps(undisturbed.state()), undisturbed.rng.getstate()
    resumed = recipe(buffer=True)
    resumed.rng.setstate(rng)
    resumed.restore(json.loads(saved))
    assert script.steps(resumed, range(3, 6)) == script.steps(undisturbed, range(3, 6))
    assert resumed.state() == undisturbed.state()
    assert resumed.metrics() == undisturbed.metrics()


def test_metrics_tell_of_the_chains_turns() -> None:
    made, script = recipe(), Script()
    script.steps(made, [0])
    metrics = made.metrics()
    assert set(metrics) == {"first_turn", "last_turn", "any_turn", "depth"}
    assert metrics["any_turn"] >= max(metrics["first_turn"], metrics["last_turn"])


def test_presets_are_valid_and_the_papers_numbers() -> None:
    paper = Config.model_validate(PRESETS["paper"])
    assert (paper.group, paper.states, paper.turns, paper.batch, paper.updates) == (8, 2, 3, 64, 2)
    assert (paper.loss.clip_low, paper.loss.clip_high, paper.loss.dual_clip, paper.loss.kl) == (0.2, 0.28, 3.0, 0.001)
    assert (paper.reasoning_tokens, paper.summary_tokens, paper.learning_rate) == (16384, 2048, 1e-6)
    Config.model_validate(PRESETS["tiny"])


def test_a_step_of_training_moves_the_policy_and_keeps_the_buffer(small: Path, tmp_path: Path) -> None:
    changes = {"model": small, "output": tmp_path, "steps": 1, "warmup": 0, "buffer": True, "wrong": -1.0}
    folder = train(Config.model_validate(SMALL | changes))
    before, after = (load_file(place / "model.safetensors") for place in (small, folder))
    assert any(not before[name].equal(after[name]) for name in before)
    told = json.loads((folder / "metrics.jsonl").read_text())
    assert {"reward/reason", "first_turn", "last_turn", "any_turn", "depth"} <= told.keys()
    state = json.loads((folder / "checkpoints" / "checkpoint-1" / "recipe-0.json").read_text())
    assert len(state["recipe"]["kept"]) == 2
