"""A turn of an agent whose tools the caller runs: what holds for every conversation, budget and option."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from decoders import build
from decoders.core.budget import Budget
from decoders.core.events import Answer
from decoders.core.messages import Message, Prompt, ToolCall
from decoders.core.run import Run
from decoders.core.task import Model, Reply, Task
from decoders.prompts import Pack
from server.engines.scripted import ScriptedEngine
from tests.decoders.boxes import OPEN
from tests.decoders.options import options
from tests.decoders.support import decode
from tests.decoders.test_episode import restless

PLAIN = Pack.load("plain")


class Notes:
    """A memory that is a mapping."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[Message, ...]] = {}

    async def keep(self, turns: Sequence[Message]) -> str:
        id = f"kept-{len(self.kept)}"
        self.kept[id] = tuple(turns)
        return id

    async def recall(self, ids: Sequence[str]) -> Mapping[str, tuple[Message, ...]]:
        return {id: self.kept[id] for id in ids if id in self.kept}


def enter(task_notes: Notes, *, tokens: int, seed: int, recorded: Any = ()) -> Run:
    model = {"scripted": Model(ScriptedEngine(restless), PLAIN)}
    reply, purse = Reply(tools=OPEN), Budget(tokens)
    return Run(model, "scripted", purse, reply=reply, seed=seed, recorded=recorded, memory=task_notes)


@settings(max_examples=150, deadline=None)
@given(chosen=options("tti"), tokens=st.integers(1, 200), seed=st.integers(0, 2**31))
def test_a_conversation_ends_within_its_steps_and_no_answer_is_lost(
    chosen: dict[str, Any], tokens: int, seed: int
) -> None:
    """The caller's loop: calls are answered, until there is text."""
    notes, made = Notes(), 0
    messages: tuple[Message, ...] = (Message("user", "Which code?"),)
    most = chosen.get("max_steps", 30)
    for turn in range(most + 1):
        run = enter(notes, tokens=tokens, seed=seed + turn)
        answer = decode(build("tti", chosen), run, Task(messages))[-1]
        assert isinstance(answer, Answer)
        assert run.budget.spent <= tokens
        counted = run.interaction
        assert counted.budget == most
        again = enter(notes, tokens=tokens, seed=seed + turn, recorded=run.trace.records)
        repeated = decode(build("tti", chosen), again, Task(messages))[-1]
        assert isinstance(repeated, Answer)
        assert (repeated.text, repeated.finish) == (answer.text, answer.finish)
        calls: tuple[ToolCall, ...] = answer.completion.tool_calls if answer.completion else ()
        made += len(calls)
        assert made <= most
        if not calls:
            assert counted.stopped is not None
            break
        assert counted.stopped is None
        assert counted.left <= most - made
        results = (Message("tool", "nothing", tool_call_id=call.id) for call in calls)
        messages = (*messages, Message("assistant", answer.text, tool_calls=calls), *results)
    else:
        raise AssertionError("the conversation never ended")


def test_what_was_hidden_counts_when_it_comes_back() -> None:
    def agent(prompt: Prompt, seed: int) -> str:
        asked = sum("handed in" in message.content for message in prompt.messages)
        called = any(message.tool_calls for message in prompt.messages)
        return "it is k1" if called or not asked else '<tool_call>{"name": "open", "arguments": {"box": 1}}</tool_call>'

    notes = Notes()
    model = {"scripted": Model(ScriptedEngine(agent), PLAIN)}
    question = Message("user", "Which code?")
    first = Run(model, "scripted", Budget(1000), reply=Reply(tools=OPEN), memory=notes)
    answer = decode(build("tti", {}), first, Task((question,)))[-1]
    assert isinstance(answer, Answer)
    assert answer.completion is not None
    (call,) = answer.completion.tool_calls
    assert [turn.role for turn in notes.kept[call.id]] == ["assistant", "user"]
    later = (question, Message("assistant", tool_calls=(call,)), Message("tool", "empty", tool_call_id=call.id))
    second = Run(model, "scripted", Budget(1000), reply=Reply(tools=OPEN), memory=notes)
    decode(build("tti", {}), second, Task(later))
    assert (second.interaction.answers, second.interaction.steps) == (2, 1)
    assert len(second.trace.steps) == 1
    assert [role for role, _ in second.trace.steps[0].messages] == ["user", "assistant", "user", "assistant", "tool"]
