"""What each decoder does, call by call."""

from __future__ import annotations

import pytest

from decoders import build
from decoders.core.calls import derived_seed
from decoders.core.errors import InvalidRequest, ReplayMismatch, UnknownDecoder
from decoders.core.events import Answer, Delta, Event
from decoders.core.messages import Message, Prompt
from decoders.core.task import Task
from decoders.prompts import Pack
from server.engines.scripted import ScriptedEngine
from tests.decoders.support import TASK, decode, start


def answer(seen: list[Event]) -> Answer:
    assert isinstance(seen[-1], Answer)
    return seen[-1]


def test_rc_restates_the_problem_replaces_the_summary_and_discards_the_reasoning() -> None:
    replies = ["draft one", "summary one", "draft two", "summary two", "draft three"]
    run = start(ScriptedEngine(replies))
    seen = decode(build("rc", {"turns": 3}), run)
    assert answer(seen).text == "draft three"
    assert [s.role for s in run.trace.steps] == ["reason", "summarise", "reason", "summarise", "reason"]
    asked = [s.messages[0][1] for s in run.trace.steps]
    assert all("What is 2 + 2?" in text for text in asked)
    assert "summary one" in asked[2]
    assert "draft one" not in asked[2]
    assert "summary two" in asked[4]
    assert "summary one" not in asked[4]
    assert "summary one" in asked[3]
    assert "draft two" in asked[3]


def test_rc_keeps_system_prompt_and_history_in_front_of_every_turn() -> None:
    task = Task((Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Hello"), *TASK.messages))
    run = start(ScriptedEngine(["one", "two", "three"]))
    decode(build("rc", {"turns": 2}), run, task)
    assert all(
        s.messages[:3] == (("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello")) for s in run.trace.steps
    )


def test_rc_falls_back_to_the_newest_turn_that_has_an_answer() -> None:
    replies = ["<think>a</think>first", "s", "<think>b</think>second", "s", "<think>never ends"]
    seen = decode(build("rc", {"turns": 3}), start(ScriptedEngine(replies)))
    assert answer(seen).text == "second"


def test_rc_never_stops_early_unless_told_to() -> None:
    replies = ["<think>a</think>4", "s", "<think>b</think>4", "s", "<think>c</think>4", "s", "<think>d</think>5"]
    assert answer(decode(build("rc", {"turns": 4}), start(ScriptedEngine(replies)))).text == "5"
    run = start(ScriptedEngine(replies))
    assert answer(decode(build("rc", {"turns": 4, "stop_when_stable": 3}), run)).text == "4"
    assert len(run.trace.steps) == 5


def test_rc_hands_the_thinking_to_the_summariser_not_the_answer() -> None:
    run = start(ScriptedEngine(["<think>my thoughts</think>my answer", "s", "end"]))
    decode(build("rc", {"turns": 2}), run)
    asked = run.trace.steps[1].messages[0][1]
    assert "my thoughts" in asked
    assert "my answer" not in asked


def test_rc_returns_the_best_answer_when_the_purse_ends() -> None:
    replies = ["<think>a b</think>first", "short summary", "<think>" + "b " * 100 + "</think>second"]
    run = start(ScriptedEngine(replies), tokens=20)
    last = answer(decode(build("rc", {"turns": 5}), run))
    assert (last.text, last.finish) == ("first", "length")
    assert run.budget.spent == 20


def test_only_the_last_turn_of_rc_streams_as_the_answer() -> None:
    seen = decode(build("rc", {"turns": 2}), start(ScriptedEngine(["one", "s", "<think>t</think>two"])))
    shown = [e.text for e in seen if isinstance(e, Delta) and e.final and e.channel == "answer"]
    assert "".join(shown) == "two"


def test_self_consistency_takes_the_majority_and_ignores_cut_samples() -> None:
    said = ["\\boxed{5}", "so \\boxed{4}", "<think>never ends", "again \\boxed{4}", "\\boxed{5} no, \\boxed{4}"]

    def reply(prompt: Prompt, seed: int) -> str:
        return said[(seed - base) % 5]

    base = derived_seed(0, "0")
    seen = decode(build("self_consistency", {"n": 5}), start(ScriptedEngine(reply)))
    assert answer(seen).text == "so \\boxed{4}"


def test_best_of_n_returns_what_the_verifier_accepts() -> None:
    def reply(prompt: Prompt, seed: int) -> str:
        asked = prompt.messages[-1].content
        if "Proposed solution" in asked:
            return "Verdict: correct" if "right" in asked else "Verdict: wrong"
        return "the right one" if seed % 4 == 3 else f"wrong {seed % 4}"

    run = start(ScriptedEngine(reply))
    assert answer(decode(build("best_of_n", {"n": 4}), run)).text == "the right one"
    assert [s.role for s in run.trace.steps].count("verify") == 4


def test_direct_streams_reasoning_and_answer_apart() -> None:
    seen = decode(build("direct", {}), start(ScriptedEngine(["<think>I think </think> four"])))
    sides = {
        side: "".join(e.text for e in seen if isinstance(e, Delta) and e.channel == side)
        for side in ("reasoning", "answer")
    }
    assert sides == {"reasoning": "I think", "answer": "four"}


def test_a_trace_of_another_question_is_refused() -> None:
    run = start(ScriptedEngine(["one"]))
    decode(build("direct", {}), run)
    other = start(ScriptedEngine(["two"]), recorded=run.trace.steps)
    with pytest.raises(ReplayMismatch):
        decode(build("direct", {}), other, Task((Message("user", "something else"),)))


def test_unknown_names_and_values_are_named() -> None:
    with pytest.raises(UnknownDecoder, match=r"rcc.*best_of_n.*direct.*rc"):
        build("rcc", {})
    with pytest.raises(InvalidRequest, match=r"turn.*has the options .*turns") as caught:
        build("rc", {"turn": 3})
    assert caught.value.param == "decoder.turn"
    with pytest.raises(InvalidRequest) as caught:
        build("rc", {"turns": "many"})
    assert caught.value.param == "decoder.turns"


def test_the_packs_defaults_stand_between_the_request_and_the_paper() -> None:
    tiny = Pack.load("tiny")
    chosen = build("rc", {"turns": 3}, tiny).model_dump()
    assert (chosen["turns"], chosen["reasoning_tokens"], chosen["stop_when_stable"]) == (3, 120, 0)
    nested = build("best_of_n", {"inner": {"name": "rc", "turns": 2}}, tiny).model_dump()
    assert (nested["n"], nested["inner"]["turns"], nested["inner"]["reasoning_tokens"]) == (8, 2, 120)


def test_any_solver_may_be_inside_with_one_trace_and_one_purse() -> None:
    engine = ScriptedEngine(lambda prompt, seed: f"\\boxed{{{seed % 2}}}")
    run = start(engine, 5000)
    decoder = build("self_consistency", {"n": 3, "inner": {"name": "rc", "turns": 2, "inner": "direct"}})
    seen = decode(decoder, run)
    assert answer(seen).text.startswith("\\boxed")
    assert sorted(s.key for s in run.trace.steps if s.role == "solve") == [
        f"0.{i}.0.0.{turn}.0.0" for i in range(3) for turn in (0, 2)
    ]
    assert not any(e.final for e in seen if isinstance(e, Delta))
    assert run.trace.decoder["inner"]["inner"]["name"] == "direct"


def test_an_unknown_inner_decoder_is_named() -> None:
    with pytest.raises(InvalidRequest, match="unknown decoder 'rcc'") as caught:
        build("best_of_n", {"inner": {"name": "self_consistency", "inner": "rcc"}})
    assert str(caught.value.param).startswith("decoder.inner")
