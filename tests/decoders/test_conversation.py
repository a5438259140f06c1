"""Under every decoder the conversation reaches the engine as it was; tools are offered where the reply is made."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoders import build, registry
from decoders.base import Decoder, Honour
from decoders.core.events import Answer
from decoders.core.messages import Attachment, Message, Prompt, ToolCall
from decoders.core.task import Reply, Task
from server.engines.scripted import ScriptedEngine
from tests.decoders.options import decoders
from tests.decoders.support import decode, start

CAT, DOG = (json.dumps({"type": "image_url", "image_url": {"url": f"data:,{name}"}}) for name in ("CAT", "DOG"))
CALLS = (ToolCall("call_1", "look", '{"at": "cat"}'), ToolCall("call_2", "look", "{}"))
SYSTEM = Message("system", "Be brief.")
EARLIER = (
    SYSTEM,
    Message("user", "Who is this?", (Attachment(CAT, 3),)),
    Message("assistant", "", tool_calls=CALLS),
    Message("tool", "a cat", tool_call_id="call_1"),
    Message("tool", "nothing", tool_call_id="call_2"),
    Message("assistant", "A cat."),
)
QUESTION = Message("user", "And this one?", (Attachment(DOG, 4),))
TURNS = (
    Message("assistant", "Let me see.", tool_calls=CALLS),
    Message("tool", "a dog", tool_call_id="call_1"),
    Message("tool", "big", tool_call_id="call_2"),
)
LOOK = json.dumps([{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}])


def passing(*wishes: Honour) -> st.SearchStrategy[Decoder]:
    """Decoders that pass these on."""
    return decoders().filter(lambda decoder: all(set(wishes) <= inner.honours for inner in decoder.nested()))


def prompts(decoder: Decoder, task: Task, tokens: int, seed: int) -> list[Prompt]:
    """Every conversation that the engine was asked to continue."""
    seen: list[Prompt] = []

    def reply(prompt: Prompt, number: int) -> str:
        seen.append(prompt)
        return ["answer 1", "<think>hm</think>answer 2", "Verdict: correct", "hm " * 30][number % 4]

    decode(decoder, start(ScriptedEngine(reply), tokens, seed=seed), task)
    return [prompt for prompt in seen if prompt.text is None and prompt.token_ids is None]


@settings(max_examples=100, deadline=None)
@given(decoder=passing("images", "tools"), tokens=st.integers(20, 400), seed=st.integers(0, 2**31))
def test_what_was_said_before_reaches_the_engine_unchanged(decoder: Decoder, tokens: int, seed: int) -> None:
    for prompt in prompts(decoder, Task((*EARLIER, QUESTION)), tokens, seed):
        assert prompt.messages[: len(EARLIER)] == EARLIER
        now = prompt.messages[len(EARLIER) :]
        assert [attachment.part for message in now for attachment in message.attachments] == [DOG]
        assert QUESTION.content in next(message.content for message in now if message.attachments)


@settings(max_examples=100, deadline=None)
@given(decoder=passing("images", "tools"), tokens=st.integers(20, 400), seed=st.integers(0, 2**31))
def test_tool_turns_stay_behind_the_question(decoder: Decoder, tokens: int, seed: int) -> None:
    for prompt in prompts(decoder, Task((SYSTEM, QUESTION, *TURNS)), tokens, seed):
        before, asked, *after = prompt.messages
        assert before == SYSTEM
        assert asked.content.startswith(QUESTION.content)
        assert asked.attachments == QUESTION.attachments
        assert tuple(after[: len(TURNS)]) == TURNS
        assert not any(message.attachments for message in after)
        assert all(message.role != "tool" for message in after[len(TURNS) :])


def test_a_question_goes_to_the_engine_as_it_is() -> None:
    for task in (Task((*EARLIER, QUESTION)), Task((SYSTEM, QUESTION, *TURNS))):
        assert [prompt.messages for prompt in prompts(build("direct", {}), task, 100, 0)] == [task.messages]


@pytest.mark.parametrize("name", sorted(n for n, cls in registry().items() if "tools" in cls.honours))
def test_tools_are_offered_where_the_reply_is_made(name: str) -> None:
    def reply(prompt: Prompt, seed: int) -> str:
        return '<tool_call>{"name": "look"}</tool_call>' if prompt.tools else "Verdict: correct"

    run = start(ScriptedEngine(reply), reply=Reply(tools=LOOK))
    answer = decode(build(name, {}), run)[-1]
    assert isinstance(answer, Answer)
    assert answer.finish == "tool_calls"
    assert answer.completion is not None
    assert [call.name for call in answer.completion.tool_calls] == ["look"]


def test_one_call_at_most_where_that_is_wanted() -> None:
    two = '<tool_call>{"name": "look"}</tool_call><tool_call>{"name": "look"}</tool_call>'
    for one in (False, True):
        answer = decode(build("direct", {}), start(ScriptedEngine([two]), reply=Reply(tools=LOOK, one_call=one)))[-1]
        assert isinstance(answer, Answer)
        assert answer.completion is not None
        assert len(answer.completion.tool_calls) == (1 if one else 2)


def test_an_answer_format_is_asked_for_where_it_was_chosen() -> None:
    for form, told in (("", False), ("choice", True)):
        seen: list[Prompt] = []

        def reply(prompt: Prompt, seed: int, seen: list[Prompt] = seen) -> str:
            seen.append(prompt)
            return "Answer: B"

        decode(build("direct", {}), start(ScriptedEngine(reply), reply=Reply(answer_format=form)))
        assert ("Answer: X" in seen[0].messages[-1].content) is told
