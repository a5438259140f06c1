from __future__ import annotations

from decoders import build
from decoders.core.events import Answer, Delta, Event
from decoders.core.messages import Prompt
from server.engines.scripted import ScriptedEngine
from tests.decoders.support import decode, start


def end(seen: list[Event]) -> Answer:
    assert isinstance(seen[-1], Answer)
    return seen[-1]


def test_the_model_is_made_to_think_on_and_then_to_answer() -> None:
    run = start(ScriptedEngine(["<think>two is one.</think>never asked", " no, three.</think>", " so four", "4 it is"]))
    seen = decode(build("budget_forcing", {"waits": 2}), run)
    prefixes = [s.prefix for s in run.trace.steps]
    assert prefixes == [
        "",
        "<think>two is one. Wait",
        "<think>two is one. Wait no, three. Wait",
        "<think>two is one. Wait no, three. Wait so four\n</think>\n\n",
    ]
    assert [s.role for s in run.trace.steps] == ["think", "think", "think", "answer"]
    assert run.trace.steps[0].sampling["stop"] == ["</think>"]
    assert run.trace.steps[3].sampling["stop"] == []
    completion = end(seen).completion
    assert completion is not None
    assert completion.text == prefixes[3] + "4 it is"
    assert completion.reasoning == "two is one. Wait no, three. Wait so four"
    assert (completion.answer, completion.finish) == ("4 it is", "stop")
    assert (completion.completion_tokens, completion.answer_tokens) == (3 + 2 + 2 + 3, 3)
    assert completion.prompt_tokens == run.trace.steps[0].completion.prompt_tokens
    usage = run.trace.usage()
    assert (usage.completion_tokens, usage.reasoning_tokens) == (10, 7)
    shown = [e.text for e in seen if isinstance(e, Delta) and e.final and e.channel == "answer"]
    assert "".join(shown) == "4 it is"


def test_thinking_beyond_the_limit_is_cut_and_the_answer_forced() -> None:
    run = start(ScriptedEngine(["<think>" + "so " * 100, "four."]))
    last = end(decode(build("budget_forcing", {"waits": 3, "thinking_tokens": 5}), run))
    assert [s.completion.completion_tokens for s in run.trace.steps] == [5, 1]
    assert run.trace.steps[1].prefix.endswith("so so\n</think>\n\nFinal Answer:")
    assert last.text == "Final Answer:four."


def test_the_limit_holds_for_all_stretches_together() -> None:
    run = start(ScriptedEngine(["<think>one two</think>", " three four five", "done"]))
    decode(build("budget_forcing", {"waits": 5, "thinking_tokens": 4}), run)
    assert [s.completion.completion_tokens for s in run.trace.steps] == [2, 2, 1]


def test_a_model_that_does_not_think_in_a_block_goes_on_where_it_would_end_its_reply() -> None:
    run = start(ScriptedEngine(["It is five.", " No: four."]))
    last = end(decode(build("budget_forcing", {"wait": "Hold on."}), run))
    assert last.text == "It is five. Hold on. No: four."
    assert last.completion is not None
    assert last.completion.answer_tokens == 5
    assert len(run.trace.steps) == 2


def test_a_small_budget_keeps_something_back_for_the_answer() -> None:
    run = start(ScriptedEngine(lambda prompt, seed: "4" if prompt.prefix else "<think>" + "so " * 100), tokens=40)
    assert end(decode(build("budget_forcing", {}), run)).text == "Final Answer:4"
    assert run.trace.steps[0].completion.completion_tokens == 30


def test_the_context_leaves_room_for_the_answer() -> None:
    engine = ScriptedEngine(lambda prompt, seed: "4" if prompt.prefix else "<think>" + "so " * 100, context_length=50)
    assert end(decode(build("budget_forcing", {"answer_tokens": 8}), start(engine))).text == "Final Answer:4"


def test_a_draft_that_fills_the_context_ends_the_run_with_what_there_is() -> None:
    def reply(prompt: Prompt, seed: int) -> str:
        return "word " * 100

    engine = ScriptedEngine(reply, context_length=10)
    last = end(
        decode(build("budget_forcing", {"answer_tokens": 1, "closing": "and now the final answer"}), start(engine))
    )
    assert (last.text, last.finish) == ("word word word word", "length")
