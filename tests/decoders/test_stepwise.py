"""Beam search and particle filtering: replies that grow step by step under a judge's marks."""

from __future__ import annotations

import re

import pytest

from decoders import build
from decoders.core.draft import Draft
from decoders.core.errors import MissingPrompt
from decoders.core.events import Answer, Event
from decoders.core.messages import Message, Prompt
from decoders.core.task import Task
from decoders.core.trace import Completion, Trace
from decoders.stepwise import Path, Stepwise
from server.engines.scripted import ScriptedEngine
from tests.decoders.support import decode, start

BEAM = {"beams": 2, "candidates": 3, "steps": 5}


def solver(prompt: Prompt, seed: int) -> str:
    """Steps that are good or bad by the seed, three of them; the judge likes good ones."""
    asked = prompt.messages[-1].content
    if "Solution so far" in asked:
        good, bad = asked.count("good"), asked.count("bad")
        return f"Score: {good / max(good + bad, 1)}"
    taken = len(re.findall("good|bad", prompt.prefix))
    word = "bad" if seed % 3 else "good"
    return f"{word} step\\boxed{{{word}}}" if taken == 2 else f"{word} step\n\nand more that is never read"


def answer(seen: list[Event]) -> Completion:
    assert isinstance(seen[-1], Answer)
    assert seen[-1].completion is not None
    return seen[-1].completion


def test_a_step_ends_at_its_mark_and_the_next_one_goes_on_from_there() -> None:
    run = start(ScriptedEngine(solver))
    decode(build("beam_search", {"beams": 1, "candidates": 1}), run)
    steps = [s for s in run.trace.steps if s.role == "step"]
    assert len(steps) == 3
    assert [s.completion.finish for s in steps] == ["length", "length", "stop"]
    assert steps[0].prefix == ""
    assert steps[1].prefix == steps[0].completion.text
    assert re.fullmatch(r"(good|bad) step\n\nand", steps[1].prefix)
    assert all("never read" not in s.completion.text for s in steps)
    grade = next(s for s in run.trace.steps if s.role == "grade_step").messages[-1][1]
    assert "What is 2 + 2?" in grade
    assert "step\n\nand" in grade


def test_beam_search_goes_on_with_the_best_and_returns_one_whole_reply() -> None:
    run = start(ScriptedEngine(solver))
    best = answer(decode(build("beam_search", BEAM), run))
    steps = [s for s in run.trace.steps if s.role == "step"]
    assert [sum(len(re.findall("good|bad", s.prefix)) == depth for s in steps) for depth in range(3)] == [6, 6, 6]
    assert len({s.prefix for s in steps}) <= 1 + 2 + 2
    assert best.finish == "stop"
    assert best.text.count("step") == 3
    assert best.answer == best.text
    assert best.completion_tokens == best.answer_tokens == 8
    assert best.prompt_tokens == steps[0].completion.prompt_tokens
    assert run.trace.usage().completion_tokens == run.budget.spent > 8


def test_more_beams_find_better_replies_than_one_sample() -> None:
    def goodness(decoder: str, **options: int) -> float:
        found = [answer(decode(build(decoder, options), start(ScriptedEngine(solver), seed=i))).text for i in range(12)]
        return sum(text.count("good step") for text in found) / 36

    alone = goodness("beam_search", beams=1, candidates=1)
    assert goodness("beam_search", beams=2, candidates=3) > alone
    assert goodness("particle_filtering", n=8) > alone


@pytest.mark.parametrize(("aggregate", "expected"), [("last", 0.5), ("min", 0.2), ("prod", 0.05)])
def test_a_replys_score_comes_from_its_steps_rewards(aggregate: str, expected: float) -> None:
    search = build("beam_search", {"aggregate": aggregate})
    assert isinstance(search, Stepwise)
    assert search.score(Path(Draft(), (0.5, 0.2, 0.5))) == pytest.approx(expected)
    assert search.score(Path()) == 0


def test_particles_are_drawn_in_proportion_to_the_odds_of_their_marks() -> None:
    def reply(prompt: Prompt, seed: int) -> str:
        asked = prompt.messages[-1].content
        if "Solution so far" in asked:
            return "Score: 0.9" if "alpha" in asked else "Score: 0.5"
        return "\\boxed{4}" if prompt.prefix else ("alpha\n\n so on" if seed % 2 else "beta\n\n so on")

    shares = []
    for seed in range(10):
        run = start(ScriptedEngine(reply), seed=seed)
        decode(build("particle_filtering", {"n": 40, "steps": 2}), run)
        steps = [s for s in run.trace.steps if s.role == "step"]
        first = [s.completion.text for s in steps if not s.prefix]
        then = [s.prefix for s in steps if s.prefix]
        alphas = sum("alpha" in text for text in first)
        shares.append((sum("alpha" in text for text in then) / 40, alphas * 9 / (alphas * 9 + 40 - alphas)))
    drawn, expected = (sum(column) / 10 for column in zip(*shares, strict=True))
    assert drawn == pytest.approx(expected, abs=0.06)


def test_a_cold_filter_keeps_only_the_best() -> None:
    run = start(ScriptedEngine(solver), seed=3)
    decode(build("particle_filtering", {"n": 6, "temperature": 0.001}), run)
    second = [s.prefix for s in run.trace.steps if s.role == "step" and len(re.findall("good|bad", s.prefix)) == 1]
    assert len(second) == 6
    assert all("good" in prefix for prefix in second)


def test_verdicts_may_take_the_place_of_marks() -> None:
    def reply(prompt: Prompt, seed: int) -> str:
        asked = prompt.messages[-1].content
        if "Solution so far" in asked:
            return "Verdict: correct" if "good" in asked else "Verdict: wrong"
        return "good" if seed % 3 == 0 else "bad"

    run = start(ScriptedEngine(reply))
    options = {"beams": 1, "candidates": 8, "scoring": "verdict", "verifications": 2}
    assert answer(decode(build("beam_search", options), run)).text == "good"
    assert [s.role for s in run.trace.steps].count("verify_step") == 16


@pytest.mark.parametrize("name", ["beam_search", "particle_filtering"])
def test_a_search_replays_from_any_place(name: str) -> None:
    run = start(ScriptedEngine(solver), 300)
    options = BEAM if name == "beam_search" else {"n": 5}
    first = decode(build(name, options), run)[-1]
    steps = Trace.model_validate_json(run.trace.model_dump_json()).steps
    for kept in (len(steps), len(steps) // 2):
        engine = ScriptedEngine(solver)
        assert decode(build(name, options), start(engine, 300, recorded=steps[:kept]))[-1] == first
        assert (engine.calls == 0) == (kept == len(steps))


@pytest.mark.parametrize("name", ["beam_search", "particle_filtering"])
def test_a_pack_that_cannot_give_marks_says_so_before_anything_is_spent(name: str) -> None:
    engine = ScriptedEngine(solver)
    with pytest.raises(MissingPrompt, match="tiny has no prompt 'grade_step'"):
        decode(build(name, {}), start(engine, pack="tiny"), Task((Message("user", "Use 5 8 9 5 to make 18"),)))
    assert engine.calls == 0
