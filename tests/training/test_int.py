"""InT on the scripted engine: which attempts are intervened in, what is kept, what is imitated, what is remembered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from benchmarks import tasks
from benchmarks.tasks import Problem
from decoders.core.messages import Prompt, Sampling
from decoders.core.task import Model
from decoders.prompts import Pack
from server.engines.scripted import ScriptedEngine
from training import traces
from training.configuration import settings
from training.play import POLICY, Play
from training.recipes import int as interventions
from training.recipes.int import PRESETS, Config, Int, train
from training.rows import Row
from training.settings import SHIPPED
from training.teachers.countdown import say_all, solutions
from training.traces import Solution

PROBLEMS = tasks.problems("countdown", "hard", "train", 3)
WRONG = "Let a = 1.\n\nThen b = 2.\n\nSo it is \\boxed{7}."


def answer(problem: Problem) -> str:
    return " ".join(say_all(solutions(problem)[0][1])).replace(" ,", ",")  # type: ignore[arg-type]


def solution(problem: Problem, **changes: Any) -> Solution:
    place = {"task": "countdown", "level": "hard", "split": "train", "of": 3}
    told = {"question": problem.question, "solution": f"\\boxed{{{answer(problem)}}}"}
    return Solution.model_validate({**place, "id": problem.id, **told, **changes})


class Questioned:
    """A problem whose answers stand in boxes."""

    environment = None

    def __init__(self, problem: Problem) -> None:
        self.id, self.question, self._problem = problem.id, problem.question, problem

    def check(self, reply: str) -> bool:
        return self._problem.check(reply.partition("\\boxed{")[2].partition("}")[0])


POOL: list[tuple[Problem, Solution]] = [(Questioned(problem), solution(problem)) for problem in PROBLEMS]


class Student:
    """A policy that is wrong by itself, proposes what it is told to, and goes on from what helps."""

    def __init__(self, *proposals: str, helps: str = "Turn back", able: int = 0) -> None:
        self.proposals, self.helps, self.able = proposals, helps, able
        self.engine = ScriptedEngine(self._reply, model=POLICY)

    def _reply(self, prompt: Prompt, seed: int) -> str:
        if prompt.prefix:
            number = next(n for n, (p, _) in enumerate(POOL) if p.question in prompt.messages[0].content)
            return f"\n\n\\boxed{{{answer(PROBLEMS[number])}}}" if self.helps in prompt.prefix and seed % 2 else " no"
        asked = prompt.messages[-1].content
        if "## Attempt" in asked:
            return self.proposals[seed % len(self.proposals)]
        if "## Reference solution" in asked:
            return "I worked it out."
        right = self.able and seed % self.able == 0
        return f"\\boxed{{{answer(PROBLEMS[0])}}}" if right else WRONG

    def rows(self, recipe: Int, step: int = 0, number: int = 0) -> list[Row]:
        play = Play({POLICY: Model(self.engine, Pack.load("plain"))}, Sampling(max_tokens=1), step, 0)
        return list(asyncio.run(recipe.episode(POOL[number][0], play)))

    def text(self, ids: Sequence[int]) -> str:
        return asyncio.run(self.engine.detokenize(ids))


def recipe(**changes: Any) -> Int:
    chosen = {"gather": 1, "batch": 2, "group": 2, "proposals": 2, "continuations": 8, "max_tokens": 60}
    return Int(Config.model_validate({**chosen, **changes}), POOL)


def proposal(step: int, words: str) -> str:
    return f'Step 1: sound.\n\n<intervention step="{step}">\n{words}\n</intervention>'


def test_what_helps_is_imitated_up_to_its_last_word_and_no_end_token() -> None:
    student, made = Student(proposal(2, "Turn back and add.")), recipe()
    assert student.rows(made) == []  # nothing is trained while the start model samples
    rows = [row for step in (1, 2) for row in student.rows(made, step)]
    assert [student.text(row.completion) for row in rows] == ["Let a = 1.\n\nTurn back and add."] * 2
    assert {student.text(row.prompt) for row in rows} == {PROBLEMS[0].question}
    assert all((row.advantage, row.mask, row.kind) == (1.0, None, "intervened") for row in rows)
    assert all(0 < (row.reward or 0) < 1 for row in rows)
    assert made.metrics()["helped"] == 1
    assert made.problems(1) == [POOL[0][0]]


def test_what_helps_no_more_than_nothing_is_left_out() -> None:
    student, made = Student(proposal(2, "Turn back and add."), helps="Something else"), recipe()
    student.rows(made)
    assert made.metrics() == {
        "funnel/wrong": 2,
        "funnel/proposed": 2,
        "funnel/continued": 16,
        "funnel/right": 0,
        "helped": 0,
    }
    assert len(made.problems(1)) == 2  # the start model goes on sampling where there is nothing to imitate


def test_an_intervention_must_help_more_than_starting_anew() -> None:
    often = Student(proposal(2, "Turn back and add."), able=2)  # half of its attempts are right, as is what goes on
    made = recipe(group=8, continuations=8)
    often.rows(made)
    assert made.metrics()["funnel/wrong"] == 4
    assert made.metrics()["helped"] == 0
    seldom = Student(proposal(2, "Turn back and add."), able=4)
    made = recipe(group=8, continuations=8)
    seldom.rows(made)
    assert made.metrics()["funnel/wrong"] == 6
    assert made.metrics()["helped"] == 1


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (proposal(2, f"Turn back: {answer(PROBLEMS[0])}."), "leaking"),
        (proposal(2, "Turn back, it is \\boxed{8}."), "leaking"),
        (proposal(9, "Turn back and add."), "misplaced"),
    ],
)
def test_what_gives_the_answer_away_or_has_no_place_is_dropped(bad: str, why: str) -> None:
    student, made = Student(bad), recipe()
    student.rows(made)
    assert made.metrics() == {"funnel/wrong": 2, f"funnel/{why}": 4, "helped": 0}


def test_the_first_proposal_that_is_left_counts() -> None:
    student, made = Student(proposal(9, "Nowhere."), proposal(1, "Turn back.")), recipe()
    student.rows(made)
    assert {student.text(row.completion) for row in student.rows(made, step=1)} == {"Turn back."}
    assert made.metrics()["funnel/proposed"] == 2


def test_a_right_attempt_needs_no_intervention() -> None:
    student, made = Student(proposal(1, "Turn back.")), recipe()
    student.able = 1
    assert student.rows(made) == []
    assert made.metrics() == {"helped": 0}


def test_an_attempt_that_leaves_no_room_for_its_log_is_passed_over() -> None:
    student, made = Student(proposal(1, "Turn back.")), recipe()
    student.engine.context_length = 40
    student.rows(made)
    assert made.metrics() == {"funnel/wrong": 2, "funnel/too long": 2, "helped": 0}


def test_every_problem_has_its_turn_before_any_has_another() -> None:
    made = recipe(gather=3)
    seen = [problem.id for step in range(3) for problem in made.problems(step)]
    assert sorted(seen[:3]) == sorted(seen[3:]) == sorted(problem.id for problem in PROBLEMS)


def test_what_was_kept_survives_a_checkpoint() -> None:
    student, made = Student(proposal(2, "Turn back and add.")), recipe()
    student.rows(made)
    again = recipe()
    again.restore(json.loads(json.dumps(made.state())))
    assert student.rows(again, step=1) == student.rows(made, step=1)
    assert again.metrics() == made.metrics()


def test_only_training_problems_count() -> None:
    held_out = [(problem, solution(raw, split="test")) for (problem, _), raw in zip(POOL, PROBLEMS, strict=True)]
    with pytest.raises(ValueError, match="no solutions of training problems"):
        Int(Config(), held_out)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_settings(preset: str) -> None:
    made: Any = settings(interventions, preset, None, [])
    assert made.gather < made.steps


def test_a_run_with_the_oracle_changes_the_weights(tmp_path: Path) -> None:
    lines = [solution(problem, solution=answer(problem)) for problem in PROBLEMS]
    traces.write(tmp_path / "traces.jsonl", lines)
    chosen = {"gather": 1, "steps": 2, "batch": 3, "group": 1, "continuations": 1, "max_tokens": 128, "warmup": 0}
    given = {"traces": tmp_path / "traces.jsonl", "output": tmp_path / "int", "proposer": "oracle"}
    folder = train(Config.model_validate({**chosen, **given}))
    sampled, imitated = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert sampled["moving"] == 0
    assert sampled["funnel/kept"] == imitated["rows"] == imitated["helped"] > 0
    before, after = load_file(SHIPPED / "model.safetensors"), load_file(folder / "model.safetensors")
    assert any((before[name] != after[name]).any() for name in after)
