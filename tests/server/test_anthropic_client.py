"""/v1/messages by the official client: the same answers as in chat, in Anthropic's form."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.api.anthropic_wire import MessagesRequest
from server.engines.scripted import ScriptedEngine
from server.settings import Settings
from tests.server.conftest import Live, serving, until

HI = [{"role": "user", "content": "hello there"}]
REPLY = "<think>one two three</think>four five"
CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>'
WEATHER: dict[str, Any] = {
    "name": "weather",
    "description": "How it is outside.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
THINKING = {"type": "enabled", "budget_tokens": 1024}


@pytest.fixture(scope="module")
def speaking() -> Iterator[Live]:
    with serving(base=ScriptedEngine([REPLY], model="base")) as running:
        yield running


def client_of(running: Live) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        base_url=running.url, api_key="x", max_retries=0, _strict_response_validation=True, timeout=20
    )


@pytest.fixture
def client(speaking: Live) -> Iterator[anthropic.Anthropic]:
    with client_of(speaking) as made:
        yield made


def post(running: Live, **fields: Any) -> httpx.Response:
    body = {"model": "base", "max_tokens": 100, "messages": HI, **fields}
    return httpx.post(f"{running.url}/v1/messages", json=body, timeout=20)


def test_whole_message(client: anthropic.Anthropic) -> None:
    done = client.messages.create(model="base", max_tokens=100, messages=HI)
    assert [block.type for block in done.content] == ["text"]
    assert done.content[0].text == "four five"
    assert (done.role, done.stop_reason, done.stop_sequence) == ("assistant", "end_turn", None)
    assert (done.usage.input_tokens, done.usage.output_tokens) == (2, 4)
    assert done.usage.output_tokens_details.thinking_tokens == 3
    assert done.longthink["decoder"]["name"] == "direct"


def test_thinking_is_shown_where_it_is_enabled(client: anthropic.Anthropic) -> None:
    asked: dict[str, Any] = {"model": "base", "max_tokens": 2000, "messages": HI}
    done = client.messages.create(**asked, thinking=THINKING)
    assert [block.type for block in done.content] == ["thinking", "text"]
    assert done.content[0].thinking == "one two three"
    assert done.longthink["budget"]["tokens"] == 1024
    again = [*HI, {"role": "assistant", "content": done.content}, *HI]
    assert client.messages.create(**{**asked, "messages": again}).content[0].text == "four five"
    for hidden in ({"type": "disabled"}, {"type": "adaptive", "display": "omitted"}):
        blocks = client.messages.create(**asked, thinking=hidden).content
        assert [block.type for block in blocks] == ["text"]


@pytest.mark.parametrize("model", ["base", "base:rc", "base:self_consistency"])
@pytest.mark.parametrize("thinking", [THINKING, {"type": "disabled"}])
def test_stream_says_what_the_whole_message_says(
    client: anthropic.Anthropic, model: str, thinking: dict[str, Any]
) -> None:
    asked: dict[str, Any] = {"model": model, "max_tokens": 2000, "messages": HI, "thinking": thinking}
    whole = client.messages.create(**asked, extra_body={"seed": 3})
    with client.messages.stream(**asked, extra_body={"seed": 3}) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    assert [block.model_dump(exclude={"parsed_output"}) for block in final.content] == [
        block.model_dump() for block in whole.content
    ]
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.usage.input_tokens == whole.usage.input_tokens
    assert final.stop_reason == whole.stop_reason


def test_events_stand_in_anthropics_order(speaking: Live) -> None:
    lines = post(speaking, stream=True, thinking={"type": "adaptive"}).text.split("\n")
    events = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    deltas = [event for place, event in enumerate(events) if event != events[place - 1]]
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    assert deltas == ["message_start", "ping", *block, *block, "message_delta", "message_stop"]


def test_an_empty_purse_is_max_tokens(client: anthropic.Anthropic) -> None:
    done = client.messages.create(model="base", max_tokens=2, messages=HI)
    assert (done.stop_reason, done.usage.output_tokens, done.content) == ("max_tokens", 2, [])


def test_system_and_blocks_reach_the_engine() -> None:
    heard: list[Any] = []

    def reply(prompt: Any, seed: int) -> str:
        heard.append(prompt)
        return "fine"

    png = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    blocks = [
        {"type": "text", "text": "see ", "cache_control": {"type": "ephemeral"}},
        {"type": "image", "source": png},
        {"type": "image", "source": {"type": "url", "url": "http://x/y.png"}},
    ]
    settings = Settings(engine="scripted", media_hosts=["x"])
    with serving(settings, base=ScriptedEngine(reply, model="base")) as running, client_of(running) as client:
        asked: dict[str, Any] = {"model": "base", "max_tokens": 9, "messages": [{"role": "user", "content": blocks}]}
        client.messages.create(**asked, system=[{"type": "text", "text": "Be brief."}])
        client.messages.create(model="base", max_tokens=9, messages=[*HI, {"role": "assistant", "content": "It is"}])
    first, second = heard
    assert (first.messages[0].role, first.messages[0].content) == ("system", "Be brief.")
    parts = first.messages[1].wire()["content"]
    assert [part["type"] for part in parts] == ["text", "image_url", "image_url"]
    assert parts[1]["image_url"]["url"] == "data:image/png;base64,AAAA"
    assert (second.messages[-1].role, second.prefix) == ("user", "It is")


def test_tools_there_and_back() -> None:
    heard: list[Any] = []

    def reply(prompt: Any, seed: int) -> str:
        heard.append(prompt)
        return CALL if prompt.messages[-1].role == "user" else "cold"

    with serving(base=ScriptedEngine(reply, model="base")) as running, client_of(running) as client:
        asked: dict[str, Any] = {"model": "base", "max_tokens": 99, "tools": [WEATHER]}
        done = client.messages.create(**asked, messages=HI, tool_choice={"type": "any"})
        assert done.stop_reason == "tool_use"
        (use,) = [block for block in done.content if block.type == "tool_use"]
        assert (use.name, use.input) == ("weather", {"city": "Oslo"})
        with client.messages.stream(**asked, messages=HI) as stream:
            streamed = stream.get_final_message()
        assert [block.input for block in streamed.content if block.type == "tool_use"] == [use.input]
        result = {"type": "tool_result", "tool_use_id": use.id, "content": "-3 degrees", "is_error": False}
        turns = [*HI, {"role": "assistant", "content": done.content}, {"role": "user", "content": [result]}]
        assert client.messages.create(**asked, messages=turns).content[0].text == "cold"
    assert json.loads(heard[0].tools)[0]["function"]["parameters"] == WEATHER["input_schema"]
    assert heard[0].tool_choice == '"required"'
    assert [message.role for message in heard[-1].messages] == ["user", "assistant", "tool"]
    assert heard[-1].messages[-1].content == "-3 degrees"


def test_json_of_a_schema() -> None:
    form = {"type": "json_schema", "schema": {"type": "object", "required": ["a"]}}
    with serving(base=ScriptedEngine(['{"a": 1}'], model="base")) as running, client_of(running) as client:
        done = client.messages.create(model="base", max_tokens=50, messages=HI, output_config={"format": form})
        assert json.loads(done.content[0].text) == {"a": 1}


def test_tokens_are_counted(client: anthropic.Anthropic) -> None:
    assert client.messages.count_tokens(model="base:rc", messages=HI, system="be brief").input_tokens == 4


def test_a_client_that_leaves_ends_the_run() -> None:
    engine = ScriptedEngine(["word " * 5000], model="base", token_delay=0.01)
    with serving(base=engine) as running, client_of(running) as client:
        with client.messages.stream(model="base", max_tokens=9000, messages=HI) as stream:
            next(iter(stream.text_stream))
        left = time.monotonic()
        assert until(lambda: engine.open_calls == 0, 2)
        assert time.monotonic() - left < 0.1


BAD: list[tuple[dict[str, Any], str]] = [
    ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": 10**9}, "max_tokens"),
    ({"temperature": 1.5}, "temperature"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "system", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
    ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages[0].content[0].source"),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "citations": [1]}]}]},
        "messages[0].content[0].citations",
    ),
    (
        {"messages": [*HI, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]}]},
        "messages[1].content[0]",
    ),
    ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
    ({"messages": [*HI, {"role": "assistant", "content": "x"}], "decoder": "rc"}, "messages"),
    ({"tools": [{"name": "a b", "input_schema": {}}]}, "tools[0].name"),
    ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, "tools[0].input_schema"),
    ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
    ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
    ({"thinking": {"type": "enabled", "budget_tokens": 100}}, "thinking.budget_tokens"),
    ({"stop_sequences": [""]}, "stop_sequences[0]"),
    ({"output_config": {"format": {"type": "json_schema", "schema": {"type": 3}}}}, "output_config.format"),
    ({"mcp_servers": [{}]}, "mcp_servers"),
    ({"max_completion_tokens": 3}, "max_completion_tokens"),
    ({"decoder": "nope"}, "decoder"),
]


@pytest.mark.parametrize(("fields", "param"), BAD, ids=[json.dumps(b[0])[:60] for b in BAD])
def test_refused_by_name_in_anthropics_form(live: Live, fields: dict[str, Any], param: str) -> None:
    response = post(live, **fields)
    body = response.json()
    assert (response.status_code, body["type"]) == (400, "error"), body
    assert (body["error"]["type"], body["error"]["param"]) == ("invalid_request_error", param)


def test_errors_are_the_right_exceptions(client: anthropic.Anthropic, live: Live) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.create(model="nobody", max_tokens=9, messages=HI)
    assert missing.value.body["error"]["type"] == "not_found_error"
    plain = httpx.post(f"{live.url}/v1/messages", content=b"x", timeout=20)
    assert (plain.status_code, plain.json()["error"]["type"]) == (415, "invalid_request_error")
    json_type = {"content-type": "application/json"}
    huge = httpx.post(f"{live.url}/v1/messages", content=b"x" * 10_000_000, headers=json_type)
    assert (huge.status_code, huge.json()["error"]["type"]) == (413, "request_too_large")
    assert httpx.get(f"{live.url}/v1/messages").json()["type"] == "error"


def test_a_failure_in_the_middle_of_a_stream_reaches_the_client() -> None:
    class Failing(ScriptedEngine):
        async def generate(self, prompt: Any, sampling: Any) -> Any:
            async for chunk in super().generate(prompt, sampling):
                yield chunk
                if self.calls > 1:
                    raise RuntimeError("the card fell off the bus")

    with serving(base=Failing([REPLY], model="base")) as running, client_of(running) as client:
        stream = client.messages.create(model="base:rc", max_tokens=999, messages=HI, stream=True)
        with pytest.raises(anthropic.APIStatusError, match="fell off"):
            list(stream)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(fields=st.dictionaries(st.sampled_from(sorted(MessagesRequest.model_fields)), _JSON, max_size=3))
def test_any_value_in_any_field_is_answered_or_refused(live: Live, fields: dict[str, Any]) -> None:
    body = json.dumps({"model": "base", "max_tokens": 50, "messages": HI, **fields}).encode("utf-8", "surrogatepass")
    response = httpx.post(
        f"{live.url}/v1/messages", content=body, headers={"content-type": "application/json"}, timeout=20
    )
    assert response.status_code in (200, 400, 404), response.text
    if response.status_code != 200:
        assert response.json()["type"] == "error"
