"""Chat beyond one question, through the official clients: tools, structured output, images, limits, refusals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import openai
import pydantic
import pytest

from decoders.core.engine import Chunk
from decoders.core.messages import Prompt, Sampling
from server.engines.scripted import ScriptedEngine
from tests.server.conftest import HELLO, Live, serving

CALL = (
    '<think>which one?</think>Let me look.\n<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>'
)
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Now.", "parameters": PARAMETERS}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
ASKED = [
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "rain"}]},
]


class Person(pydantic.BaseModel):
    name: str
    age: int


class Room:
    """A server with one scripted model that says what `say` says, and the prompts that reached it."""

    def __init__(self) -> None:
        self.say: Callable[[Prompt, int], str] = lambda prompt, seed: "fine"
        self.prompts: list[Prompt] = []
        self.engine = ScriptedEngine(self._reply, model="base")

    def _reply(self, prompt: Prompt, seed: int) -> str:
        self.prompts.append(prompt)
        return self.say(prompt, seed)


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Live, Room]]:
    room = Room()
    plain = ScriptedEngine(model="plain")
    plain.features = frozenset()
    with serving(base=room.engine, plain=plain) as live:
        yield live, room


@pytest.fixture
def room(running: tuple[Live, Room]) -> Room:
    running[1].say = lambda prompt, seed: "fine"
    running[1].prompts.clear()
    return running[1]


@pytest.fixture
def live(running: tuple[Live, Room]) -> Live:
    return running[0]


@pytest.fixture
def client(live: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="x", max_retries=0, _strict_response_validation=True) as made:
        yield made


def weather(prompt: Prompt, seed: int) -> str:
    """Calls the tool once, then tells what it said."""
    results = [message.content for message in prompt.messages if message.role == "tool"]
    return f"It is {results[-1]}." if results else CALL if prompt.tools else "I cannot know."


@pytest.mark.parametrize("model", ["base", "base:rc", "base:self_consistency"])
def test_a_tool_is_called_and_its_result_used(client: openai.OpenAI, room: Room, live: Live, model: str) -> None:
    room.say = weather
    success = {"model": "base", "finished_reason": "tool_calls"}
    before = live.metric("longthink:request_success_total", **success)
    chat: list[Any] = [{"role": "user", "content": "Weather in Oslo?"}]
    first = client.chat.completions.create(model=model, messages=chat, tools=[WEATHER], seed=3)
    choice = first.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Let me look.")
    assert [call.function.name for call in choice.message.tool_calls] == ["weather"]
    assert json.loads(choice.message.tool_calls[0].function.arguments) == {"city": "Oslo"}
    assert live.metric("longthink:request_success_total", **success) == before + 1
    spent = first.usage
    shown = len(CALL.partition("</think>Let")[2].split())  # the token that ends the thinking block counts as reasoning
    assert spent.completion_tokens - spent.completion_tokens_details.reasoning_tokens == shown
    assert spent.completion_tokens == sum(first.longthink["by_role"].values())

    chat += [choice.message, {"role": "tool", "tool_call_id": choice.message.tool_calls[0].id, "content": "sunny"}]
    second = client.chat.completions.create(model=model, messages=chat, tools=[WEATHER], seed=3)
    assert (second.choices[0].message.content, second.choices[0].finish_reason) == ("It is sunny.", "stop")
    assert [m.role for m in room.prompts[-1].messages[:3]] == ["user", "assistant", "tool"]
    assert room.prompts[-1].messages[1].tool_calls[0].id == choice.message.tool_calls[0].id


@pytest.mark.parametrize("model", ["base", "base:rc"])
def test_a_streamed_call_is_the_whole_ones(client: openai.OpenAI, room: Room, model: str) -> None:
    room.say = lambda prompt, seed: CALL + CALL.partition("\n")[2] if prompt.tools else "no"
    asked: dict[str, Any] = {"model": model, "messages": HELLO, "tools": [WEATHER], "seed": 3}
    whole = client.chat.completions.create(**asked)
    stream = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    deltas = [
        (place, call) for place, chunk in enumerate(stream) for c in chunk.choices for call in c.delta.tool_calls or ()
    ]
    finish = next(place for place, chunk in enumerate(stream) if chunk.choices and chunk.choices[0].finish_reason)
    assert all(place < finish for place, _ in deltas)
    assert [call.index for _, call in deltas] == [0, 1]
    said = [(call.id, call.type, call.function.name, call.function.arguments) for _, call in deltas]
    calls = whole.choices[0].message.tool_calls
    assert said == [(call.id, "function", call.function.name, call.function.arguments) for call in calls]
    assert stream[finish].choices[0].finish_reason == "tool_calls"
    assert stream[-1].usage == whole.usage
    assert not any("tool_call>" in chunk.to_json() for chunk in stream)


def test_the_stream_helper_puts_a_call_together(client: openai.OpenAI, room: Room) -> None:
    room.say = lambda prompt, seed: CALL
    with client.chat.completions.stream(model="base", messages=HELLO, tools=[WEATHER]) as stream:
        done = stream.get_final_completion()
    assert done.choices[0].message.tool_calls[0].function.name == "weather"


def test_a_call_without_text_has_no_content(client: openai.OpenAI, room: Room) -> None:
    room.say = lambda prompt, seed: CALL.partition("\n")[2]
    assert (
        client.chat.completions.create(model="base", messages=HELLO, tools=[WEATHER]).choices[0].message.content is None
    )


def test_the_choice_of_tools_reaches_the_engine(client: openai.OpenAI, room: Room) -> None:
    named = {"type": "function", "function": {"name": "weather"}}
    for choice in ("auto", "required", named):
        client.chat.completions.create(model="base", messages=HELLO, tools=[WEATHER], tool_choice=choice)
        prompt = room.prompts[-1]
        assert json.loads(prompt.tools) == [WEATHER]
        assert (json.loads(prompt.tool_choice) if prompt.tool_choice else "auto") == choice
    room.say = weather
    done = client.chat.completions.create(model="base", messages=HELLO, tools=[WEATHER], tool_choice="none")
    assert (room.prompts[-1].tools, done.choices[0].message.content) == ("", "I cannot know.")


def test_parallel_calls_can_be_switched_off(client: openai.OpenAI, room: Room) -> None:
    room.say = lambda prompt, seed: CALL + CALL.partition("\n")[2]
    for parallel, calls in ((True, 2), (False, 1)):
        done = client.chat.completions.create(
            model="base", messages=HELLO, tools=[WEATHER], parallel_tool_calls=parallel
        )
        assert len(done.choices[0].message.tool_calls) == calls


def test_parsing_into_a_model(client: openai.OpenAI, room: Room) -> None:
    room.say = lambda prompt, seed: ["<think>hm</think>" + '{"name": "Ada", "age": 36}', "Ada is 36."][seed % 2]
    for model in ("base", "base:self_consistency"):
        done = client.chat.completions.parse(model=model, messages=HELLO, response_format=Person, seed=1)
        assert done.choices[0].message.parsed == Person(name="Ada", age=36)
        with client.chat.completions.stream(model=model, messages=HELLO, response_format=Person, seed=1) as stream:
            assert stream.get_final_completion().choices[0].message.parsed == Person(name="Ada", age=36)


def test_strict_arguments_are_drawn_again_until_they_fit(client: openai.OpenAI, room: Room) -> None:
    good = '<tool_call>{"name": "Person", "arguments": {"name": "Ada", "age": 36}}</tool_call>'
    room.say = lambda prompt, seed: [good, '<tool_call>{"name": "Person", "arguments": {}}</tool_call>'][seed % 2]
    tool = openai.pydantic_function_tool(Person)
    for seed in range(4):
        done = client.chat.completions.parse(model="base", messages=HELLO, tools=[tool], seed=seed)
        assert done.choices[0].message.tool_calls[0].function.parsed_arguments == Person(name="Ada", age=36)


def test_an_answer_of_another_form_is_an_error_that_clients_do_not_repeat(
    client: openai.OpenAI, room: Room, live: Live
) -> None:
    room.say = lambda prompt, seed: "no JSON"
    wanted: dict[str, Any] = {"messages": HELLO, "response_format": {"type": "json_object"}}
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.with_options(max_retries=2).chat.completions.create(model="base", **wanted)
    assert caught.value.code == "invalid_structured_output"
    assert len(room.prompts) == 3
    for model in ("base", "base:rc"):
        events = live.events(model=model, **wanted)
        assert events[-1]["error"]["code"] == "invalid_structured_output"
        assert not any(choice["delta"].get("content") for event in events[:-1] for choice in event["choices"])
    cut = client.chat.completions.create(model="base", **wanted, max_completion_tokens=1)
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("no", "length")


def test_the_async_client_and_many_choices(live: Live, room: Room) -> None:
    room.say = weather

    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=f"{live.url}/v1", api_key="x", max_retries=0) as client:
            done = await client.chat.completions.create(model="base", messages=HELLO, tools=[WEATHER], n=3, seed=1)
            assert [c.finish_reason for c in done.choices] == ["tool_calls"] * 3
            assert len({c.message.tool_calls[0].id for c in done.choices}) == 3
            stream = await client.chat.completions.create(
                model="base", messages=HELLO, tools=[WEATHER], n=3, seed=1, stream=True
            )
            ids = {
                c.index: call.id async for chunk in stream for c in chunk.choices for call in c.delta.tool_calls or ()
            }
            assert ids == {c.index: c.message.tool_calls[0].id for c in done.choices}

    asyncio.run(main())


def test_stop_logprobs_and_seed_are_about_the_reply(client: openai.OpenAI, room: Room) -> None:
    room.say = lambda prompt, seed: f"one two three {seed}"
    done = client.chat.completions.create(model="base", messages=HELLO, stop=[" three"], logprobs=True, top_logprobs=1)
    assert done.choices[0].message.content == "one two"
    assert [entry.token for entry in done.choices[0].logprobs.content] == ["one", " two"]
    first, again = (client.chat.completions.create(model="base", messages=HELLO, seed=4) for _ in range(2))
    assert first.choices == again.choices


def test_the_conversation_is_kept_message_by_message(client: openai.OpenAI, room: Room) -> None:
    shown = [{"type": "text", "text": "What "}, PICTURE, {"type": "text", "text": "is this?"}]
    chat: list[Any] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": shown},
        *ASKED[1:],
        {"role": "assistant", "content": "Rain."},
        {"role": "user", "content": [PICTURE, {"type": "text", "text": "And here?"}]},
    ]
    client.chat.completions.create(model="base", messages=chat)
    wire = [message.wire() for message in room.prompts[-1].messages]
    assert [message["role"] for message in wire] == ["system", "user", "assistant", "tool", "assistant", "user"]
    assert (wire[1]["content"], wire[5]["content"]) == (shown, chat[5]["content"])
    assert (wire[2]["tool_calls"], wire[3]["tool_call_id"]) == (ASKED[1]["tool_calls"], "c1")


def test_an_answer_format_of_the_pack_is_asked_for(client: openai.OpenAI, room: Room) -> None:
    client.chat.completions.create(model="base", messages=HELLO, extra_body={"answer_format": "choice"})
    assert "Answer: X" in room.prompts[-1].messages[-1].content


def test_a_deadline_ends_with_what_there_is() -> None:
    engine = ScriptedEngine(["word " * 10_000], model="base", token_delay=0.005)
    with serving(base=engine) as running:
        choice = running.ask(deadline_seconds=0.3).json()["choices"][0]
        assert choice["finish_reason"] == "length"
        assert choice["message"]["content"].startswith("word word")
        assert engine.open_calls == 0


def test_the_priority_reaches_every_step() -> None:
    seen: list[int] = []

    class Noting(ScriptedEngine):
        async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
            seen.append(sampling.priority)
            async for chunk in super().generate(prompt, sampling):
                yield chunk

    with serving(base=Noting(model="base")) as running:
        assert running.ask(priority=-3, decoder={"name": "rc", "turns": 2}).status_code == 200
    assert seen == [-3, -3, -3]


UNABLE: list[tuple[dict[str, Any], str]] = [
    ({"tools": [WEATHER]}, "tools"),
    ({"tools": [WEATHER], "tool_choice": "required"}, "tools"),
    ({"logprobs": True}, "logprobs"),
    ({"messages": [{"role": "user", "content": [PICTURE]}]}, "messages"),
    ({"messages": [{"role": "user", "content": [PICTURE]}, {"role": "assistant", "content": "x"}, *HELLO]}, "messages"),
    ({"messages": ASKED}, "messages"),
    ({"model": "base", "messages": ASKED, "decoder": {"name": "rc", "summary_model": "plain"}}, "messages"),
]


@pytest.mark.parametrize(("fields", "param"), UNABLE, ids=[json.dumps(u[0])[:60] for u in UNABLE])
def test_what_the_model_cannot_do_is_refused_by_name(live: Live, fields: dict[str, Any], param: str) -> None:
    response = live.ask(**{"model": "plain", **fields})
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (400, param, "unsupported_parameter")
    assert "plain" in error["message"]
