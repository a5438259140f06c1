"""Agents that run their own tools: counted by what they send, asked to look again, and none the wiser."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import Any

import openai
import pytest

from decoders.core.messages import Message, Prompt
from server.aliases import Alias
from server.engines.scripted import ScriptedEngine
from server.hidden import PREFIX, HiddenTurns
from server.settings import Settings
from server.store.base import StoreUnavailable
from server.store.memory import MemoryStore
from tests.decoders.boxes import OPEN, Boxes
from tests.server.conftest import Live, serving

SEED = 3
CODE, PLACE = Boxes(SEED).code, Boxes(SEED).place
TOOLS: list[Any] = json.loads(OPEN)
ASKED = [{"role": "user", "content": "Which code is in the boxes?"}]
AGAIN = "handed in"


def agent(prompt: Prompt, seed: int) -> str:
    """Guesses at once; asked to look again, opens the boxes in turn, two at once where it is asked for pairs."""
    asked = next(message.content for message in prompt.messages if message.role == "user")
    for message in prompt.messages:
        if "the code " in message.content:
            return f"It is {message.content.split('the code ')[1].split()[0]}"
    opened = sum(len(message.tool_calls) for message in prompt.messages)
    sure = not any(AGAIN in message.content for message in prompt.messages) and "look" not in asked
    if sure or not prompt.tools:
        return "It is k0"
    numbers = [opened + 1, opened + 2] if "pairs" in asked else [opened + 1]
    made = (json.dumps({"name": "open", "arguments": {"box": number}}) for number in numbers)
    return "".join(f"<tool_call>{each}</tool_call>" for each in made)


@pytest.fixture(scope="module")
def seen() -> list[Prompt]:
    return []


@pytest.fixture(scope="module")
def agents(seen: list[Prompt]) -> Iterator[Live]:
    def watched(prompt: Prompt, seed: int) -> str:
        seen.append(prompt)
        return agent(prompt, seed)

    aliases = {
        "careful": Alias(model="base", decoder="tti"),
        "eager": Alias(model="base", decoder="tti", options={"min_answers": 1}),
        "short": Alias(model="base", decoder="tti", options={"max_steps": 3}),
        "thorough": Alias(model="base", decoder="tti", options={"min_answers": 3}),
    }
    with serving(Settings(engine="scripted", aliases=aliases), base=ScriptedEngine(watched, model="base")) as live:
        yield live


@pytest.fixture
def client(agents: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{agents.url}/v1", api_key="x", max_retries=0) as made:
        yield made


def opened(number: int) -> str:
    return f"box {number} holds {f'the code {CODE}' if number == PLACE else 'nothing'}"


def loop(client: openai.OpenAI, model: str, *, asked: str = ASKED[0]["content"], stream: bool = False) -> list[Any]:
    """An agent as anybody would write it: messages rebuilt by hand, tools run, until there is text. -> the replies"""
    messages: list[Any] = [{"role": "user", "content": asked}]
    replies: list[Any] = []
    while len(replies) < 20:
        reply = _streamed(client, model, messages) if stream else _whole(client, model, messages)
        replies.append(reply)
        if not reply["calls"]:
            return replies
        calls = [
            {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for id, name, arguments in reply["calls"]
        ]
        messages.append({"role": "assistant", "content": None, "tool_calls": calls})
        for id, _, arguments in reply["calls"]:
            messages.append({"role": "tool", "tool_call_id": id, "content": opened(json.loads(arguments)["box"])})
    raise AssertionError("the agent never ends")


def _whole(client: openai.OpenAI, model: str, messages: list[Any]) -> dict[str, Any]:
    done = client.chat.completions.create(model=model, messages=messages, tools=TOOLS)
    message = done.choices[0].message
    calls = [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()]
    ended = done.choices[0].finish_reason
    assert ended == ("tool_calls" if calls else "stop")
    thought = getattr(message, "reasoning", "") or ""
    return {"text": message.content or "", "calls": calls, "thought": thought, **done.longthink}


def _streamed(client: openai.OpenAI, model: str, messages: list[Any]) -> dict[str, Any]:
    text, thought, calls, last = "", "", [], None
    for chunk in client.chat.completions.create(model=model, messages=messages, tools=TOOLS, stream=True):
        delta, last = chunk.choices[0].delta, chunk
        text += delta.content or ""
        thought += getattr(delta, "reasoning", "") or ""
        calls += [(call.id, call.function.name, call.function.arguments) for call in delta.tool_calls or ()]
    assert last is not None
    return {"text": text, "calls": calls, "thought": thought, **last.longthink}


@pytest.mark.parametrize("stream", [False, True])
def test_the_models_name_is_all_that_changes(client: openai.OpenAI, stream: bool) -> None:
    (hasty,) = loop(client, "eager", stream=stream)
    assert (hasty["text"], hasty["interaction"]["answers"]) == ("It is k0", 1)
    replies = loop(client, "careful", stream=stream)
    assert replies[-1]["text"] == f"It is {CODE}"
    assert len(replies) == PLACE + 1
    assert all(reply["text"] == "" for reply in replies[:-1])
    assert "It is k0" in replies[0]["thought"]
    report = {"budget": 30, "steps": PLACE, "left": 30 - PLACE, "answers": 2, "stopped": "answer", "reward": None}
    assert replies[-1]["interaction"] == report
    assert [reply["interaction"]["steps"] for reply in replies] == [*range(1, PLACE + 1), PLACE]
    assert replies[0]["interaction"]["stopped"] is None


def test_the_suffix_does_too(client: openai.OpenAI) -> None:
    assert loop(client, "base:tti")[-1]["text"] == f"It is {CODE}"


def test_hidden_turns_stand_where_they_were(client: openai.OpenAI, seen: list[Prompt]) -> None:
    replies = loop(client, "careful")
    first_id = replies[0]["calls"][0][0]
    assert first_id.startswith(PREFIX)
    assert not any(reply["calls"][0][0].startswith(PREFIX) for reply in replies[1:-1])
    roles = [message.role for message in seen[-1].messages]
    assert roles[:5] == ["user", "assistant", "user", "assistant", "tool"]
    assert seen[-1].messages[1] == Message("assistant", "It is k0")
    assert AGAIN in seen[-1].messages[2].content


def test_a_conversation_goes_on_without_what_is_forgotten(client: openai.OpenAI, seen: list[Prompt]) -> None:
    call = {"id": PREFIX + "f" * 32, "type": "function", "function": {"name": "open", "arguments": '{"box": 1}'}}
    messages: Any = [
        *ASKED,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": opened(1)},
    ]
    reply = _whole(client, "careful", messages)
    assert reply["interaction"]["answers"] == 1  # this request's own: the one before is not known any more
    assert seen[-2].messages[:3] == (Message(*ASKED[0].values()), *seen[-2].messages[1:3])
    assert reply["calls"]


def test_steps_are_counted_since_the_users_last_message_and_calls_are_cut_to_what_is_left(
    client: openai.OpenAI, seen: list[Prompt]
) -> None:
    replies = loop(client, "short", asked="look into boxes by pairs")
    assert [len(reply["calls"]) for reply in replies] == [2, 1, 0]
    report = {"budget": 3, "steps": 3, "left": 0, "answers": 1, "stopped": "budget", "reward": None}
    assert replies[-1]["interaction"] == report | {"stopped": "budget"}
    assert seen[-1].tools == ""
    assert seen[-1].messages[-1].content.endswith("without calling a tool.")
    call = {"id": "c", "type": "function", "function": {"name": "open", "arguments": '{"box": 1}'}}
    earlier: Any = [
        *ASKED,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": opened(1)},
        {"role": "assistant", "content": "It is k1"},
        {"role": "user", "content": "look again"},
    ]
    assert _whole(client, "short", earlier)["interaction"]["steps"] == 1


def test_each_answer_is_asked_about_until_there_are_enough(client: openai.OpenAI) -> None:
    replies = loop(client, "thorough")
    assert replies[-1]["interaction"]["answers"] == 3
    assert replies[-1]["text"] == f"It is {CODE}"
    assert replies[-1]["thought"] == f"It is {CODE}"  # withheld before it was said again


def test_only_a_final_text_is_streamed_as_content(client: openai.OpenAI) -> None:
    kinds = []
    for chunk in client.chat.completions.create(model="careful", messages=ASKED, tools=TOOLS, stream=True):
        delta = chunk.choices[0].delta
        kinds += ["content"] if delta.content else ["reasoning"] if getattr(delta, "reasoning", None) else []
        kinds += ["call"] if delta.tool_calls else []
    assert "content" not in kinds
    assert kinds[-1] == "call"


def test_when_the_tokens_end_the_withheld_answer_is_the_reply(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(model="careful", messages=ASKED, tools=TOOLS, max_completion_tokens=4)
    assert (done.choices[0].message.content, done.choices[0].finish_reason) == ("It is k0", "length")


def test_without_tools_there_is_nothing_to_do(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="environment or tools"):
        client.chat.completions.create(model="careful", messages=ASKED)


def test_responses_too(client: openai.OpenAI) -> None:
    tools: Any = [{"type": "function", **TOOLS[0]["function"], "strict": False}]
    items: list[Any] = [{"role": "user", "content": ASKED[0]["content"]}]
    for _ in range(20):
        done = client.responses.create(model="careful", input=items, tools=tools)
        calls = [item for item in done.output if item.type == "function_call"]
        if not calls:
            break
        for call in calls:
            said = opened(json.loads(call.arguments)["box"])
            items += [call, {"type": "function_call_output", "call_id": call.call_id, "output": said}]
    assert done.output_text == f"It is {CODE}"
    assert done.longthink["interaction"]["answers"] == 2


def test_an_agent_framework_gains_by_another_name_of_the_model(agents: Live) -> None:
    from agents import Agent, ModelSettings, RunConfig, Runner, function_tool
    from agents.models.openai_chatcompletions import OpenAIChatCompletionsModel
    from agents.models.openai_responses import OpenAIResponsesModel

    @function_tool(name_override="open")
    def open_box(box: int) -> str:
        """Look into a box."""
        return opened(box)

    async def ask(kind: Any, model: str) -> str:
        async with openai.AsyncOpenAI(base_url=f"{agents.url}/v1", api_key="x") as client:
            made = kind(model=model, openai_client=client)
            walker = Agent("walker", model=made, tools=[open_box], model_settings=ModelSettings())
            done = await Runner.run(walker, ASKED[0]["content"], run_config=RunConfig(tracing_disabled=True))
            return str(done.final_output)

    for kind in (OpenAIChatCompletionsModel, OpenAIResponsesModel):
        assert asyncio.run(ask(kind, "base")) == "It is k0"
        assert asyncio.run(ask(kind, "careful")) == f"It is {CODE}"


def test_turns_come_back_as_they_were_and_a_store_that_is_away_is_no_error() -> None:
    class Away(MemoryStore):
        async def value(self, key: str) -> bytes | None:
            raise StoreUnavailable("gone")

        async def keep(
            self, key: str, value: bytes, seconds: float, *, new: bool = False, labels: Sequence[str] = ()
        ) -> bool:
            raise StoreUnavailable("gone")

    async def main() -> None:
        turns = (Message("assistant", "It is k0"), Message("user", "look again"))
        kept = HiddenTurns(MemoryStore(limit=9, seconds=9, max_bytes=9999), 60)
        first, second = await kept.keep(turns), await kept.keep(turns[:1])
        assert first != second
        assert await kept.recall(["other", first, second, PREFIX]) == {first: turns, second: turns[:1]}
        away = HiddenTurns(Away(limit=9, seconds=9, max_bytes=9999), 60)
        assert await away.recall([await away.keep(turns)]) == {}

    asyncio.run(main())
