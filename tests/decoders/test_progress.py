"""Early exit of the iterative decoders, with and without probes."""

from __future__ import annotations

import pytest

from decoders import build
from decoders.core.errors import MissingPrompt
from decoders.core.events import Answer
from decoders.core.messages import Message, Prompt
from decoders.core.run import Run
from decoders.core.task import Task
from server.engines.scripted import ScriptedEngine
from tests.decoders.support import decode, start

CUT = "<think>" + "still at it " * 30
COUNTDOWN = Task((Message("user", "Use 5 8 9 5 to make 18"),))


def probing(answers: dict[int, str]) -> tuple[ScriptedEngine, list[Prompt]]:
    """An engine whose turns never end, whose summaries count up, and whose n-th probe says `answers[n]`."""
    asked: list[Prompt] = []

    def reply(prompt: Prompt, seed: int) -> str:
        text = prompt.messages[-1].content
        if "Time is up" in text:
            asked.append(prompt)
            return answers.get(len(asked), "<think>nothing yet")
        return f"summary {len(asked)}" if "new summary" in text else CUT

    return ScriptedEngine(reply), asked


def finished(name: str, options: dict[str, object], engine: ScriptedEngine) -> tuple[Answer, Run]:
    run = start(engine)
    last = decode(build(name, options), run)[-1]
    assert isinstance(last, Answer)
    return last, run


RC = {"turns": 6, "reasoning_tokens": 10, "stop_when_stable": 2, "probe_tokens": 20}
LOOP = {"mode": "loop", "rounds": 6, "solve_tokens": 10, "refine_tokens": 10, "stop_when_stable": 2, "probe_tokens": 20}


@pytest.mark.parametrize(("name", "options"), [("rc", RC), ("e3", LOOP)])
def test_episodes_that_were_cut_are_probed_and_two_equal_answers_end_it(name: str, options: dict[str, object]) -> None:
    engine, asked = probing({2: "\\boxed{3}", 3: "\\boxed{4}", 4: "so \\boxed{4}"})
    last, run = finished(name, options, engine)
    assert last.text == "so \\boxed{4}"
    assert len(asked) == 4
    probes = [step for step in run.trace.steps if step.role == "probe"]
    assert all(step.sampling["max_tokens"] == 20 for step in probes)
    assert "still at it" in probes[0].messages[0][1]
    assert "<think>" not in probes[0].messages[0][1]


@pytest.mark.parametrize(("name", "options"), [("rc", RC), ("e3", LOOP)])
def test_nothing_is_probed_unless_it_may_stop(name: str, options: dict[str, object]) -> None:
    engine, asked = probing({})
    finished(name, {**options, "stop_when_stable": 0}, engine)
    assert asked == []
    finished(name, {**options, "probe_tokens": 0}, engine)
    assert asked == []


def test_a_probe_sees_what_the_turn_was_built_on() -> None:
    engine, asked = probing({})
    finished("rc", RC, engine)
    assert "Summary" not in asked[0].messages[0].content
    assert "summary 1" in asked[1].messages[0].content


def test_of_several_probes_the_majority_counts() -> None:
    said = ["\\boxed{1}", "\\boxed{4}", "\\boxed{4}", "<think>no answer"] * 2
    engine, asked = probing(dict(enumerate(said, 1)))
    last, _ = finished("rc", {**RC, "probes": 4}, engine)
    assert last.text == "\\boxed{4}"
    assert len(asked) == 8


def test_a_loop_whose_candidates_stay_the_same_stops() -> None:
    verdict = "Verdict: wrong"
    engine = ScriptedEngine(["\\boxed{4}", verdict, "again \\boxed{4}", verdict, "and \\boxed{4}", verdict])
    last, run = finished("e3", {"mode": "loop", "stop_when_stable": 3}, engine)
    assert last.text == "and \\boxed{4}"
    assert [step.role for step in run.trace.steps] == ["solve", "verify", "refine", "verify", "refine"]


@pytest.mark.parametrize(("name", "options"), [("rc", RC), ("e3", LOOP)])
def test_a_model_that_cannot_be_asked_is_refused_before_anything_is_generated(
    name: str, options: dict[str, object]
) -> None:
    engine = ScriptedEngine(["one"])
    run = start(engine, pack="tiny")
    with pytest.raises(MissingPrompt, match="tiny has no prompt 'answer_now'"):
        decode(build(name, options), run, COUNTDOWN)
    assert engine.calls == 0
