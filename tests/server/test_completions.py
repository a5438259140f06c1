"""/v1/completions by the official client: text is continued as it is, and what comes back is what was generated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from decoders.core.engine import Tokenizing
from server.api.completions import CompletionRequest
from server.engines.embedded import EmbeddedEngine
from server.engines.scripted import ScriptedEngine
from server.model_options import SHIPPED
from server.settings import Settings
from tests.server.conftest import Live, serving

REPLY = "<think>one two</think>three four"


@pytest.fixture(scope="module")
def speaking() -> Iterator[Live]:
    with serving(base=ScriptedEngine([REPLY], model="base")) as running:
        yield running


@pytest.fixture
def client(speaking: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{speaking.url}/v1", api_key="x", max_retries=0, _strict_response_validation=True
    ) as made:
        yield made


@pytest.fixture
def lenient(speaking: Live) -> Iterator[openai.OpenAI]:
    """For streams: the client's type has no null for the finish reason that OpenAI itself sends in every chunk."""
    with openai.OpenAI(base_url=f"{speaking.url}/v1", api_key="x", max_retries=0) as made:
        yield made


def test_the_text_comes_back_as_it_was_generated(client: openai.OpenAI) -> None:
    done = client.completions.create(model="base", prompt="say it", max_tokens=50, seed=1)
    assert done.choices[0].text == REPLY
    assert done.choices[0].finish_reason == "stop"
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (2, 3)
    assert done.usage.completion_tokens_details.reasoning_tokens == 0
    assert done.longthink["decoder"]["name"] == "direct"


def test_stream_says_what_the_whole_response_says(client: openai.OpenAI, lenient: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "base", "prompt": ["a", "b c"], "n": 2, "max_tokens": 2, "logprobs": 0}
    whole = client.completions.create(**asked)
    chunks = list(lenient.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    texts, ends = dict.fromkeys(range(4), ""), {}
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            if choice.finish_reason:
                ends[choice.index] = choice
    assert texts == {choice.index: choice.text for choice in whole.choices}
    assert [ends[i].logprobs for i in range(4)] == [choice.logprobs for choice in whole.choices]
    assert {choice.finish_reason for choice in whole.choices} == {"length"}
    assert chunks[-1].usage == whole.usage
    options: Any = {"include_usage": True, "continuous_usage_stats": True}
    counted = list(lenient.completions.create(**asked, stream=True, stream_options=options))
    assert counted[-2].usage == counted[-1].usage == whole.usage
    assert whole.usage.completion_tokens == 8  # max_tokens is for each choice
    assert whole.choices[0].logprobs.tokens == ["<think>one", " two</think>three"]
    assert whole.choices[0].logprobs.text_offset == [0, 10]


def test_tokens_are_sixteen_where_nothing_is_said() -> None:
    with serving(base=ScriptedEngine(["word " * 40], model="base")) as running:
        answer = post(running, prompt="x").json()
    assert answer["usage"]["completion_tokens"] == 16
    assert answer["choices"][0]["finish_reason"] == "length"


def test_echo_begins_with_the_prompt(client: openai.OpenAI, lenient: openai.OpenAI) -> None:
    assert client.completions.create(model="base", prompt="say: ", echo=True).choices[0].text == "say: " + REPLY
    stream = lenient.completions.create(model="base", prompt="say: ", echo=True, stream=True)
    assert "".join(c.text for chunk in stream for c in chunk.choices) == "say: " + REPLY


def test_ids_go_in_and_come_out(client: openai.OpenAI) -> None:
    done = client.completions.create(
        model="base", prompt=[[5, 6], [7]], max_tokens=2, extra_body={"return_token_ids": True}
    )
    assert [choice.prompt_token_ids for choice in done.choices] == [[5, 6], [7]]
    assert [len(choice.token_ids) for choice in done.choices] == [2, 2]
    assert done.usage.prompt_tokens == 3


BAD: list[tuple[dict[str, Any], str]] = [
    ({"prompt": ""}, ""),
    ({"prompt": None}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": ["a", 3]}, "prompt"),
    ({"prompt": [1, -1]}, "prompt"),
    ({"prompt": [[1], "a"]}, "prompt"),
    ({"prompt": ["a"] * 65}, "prompt"),
    ({"suffix": "end"}, "suffix"),
    ({"best_of": 3}, "best_of"),
    ({"echo": True, "logprobs": 1}, "echo"),
    ({"echo": True, "prompt": [1, 2]}, "echo"),
    ({"logprobs": 21}, "logprobs"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 20_000, "n": 2}, "max_tokens"),
    ({"decoder": "rc"}, "prompt"),
    ({"model": "base:self_consistency"}, "prompt"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"messages": []}, "messages"),
]


def post(running: Live, **fields: Any) -> httpx.Response:
    return httpx.post(f"{running.url}/v1/completions", json={"model": "base", **fields}, timeout=20)


@pytest.mark.parametrize(("fields", "param"), BAD, ids=[json.dumps(b[0])[:50] for b in BAD])
def test_refused_by_name(live: Live, fields: dict[str, Any], param: str) -> None:
    response = post(live, **{"prompt": "hello", **fields})
    if param:
        assert (response.status_code, response.json()["error"]["param"]) == (400, param), response.text
    else:
        assert response.status_code == 200


def test_an_engine_without_bare_text_says_so() -> None:
    engine = ScriptedEngine(model="base")
    engine.features = frozenset()
    with serving(base=engine) as running:
        for prompt in ("text", [1, 2]):
            error = post(running, prompt=prompt).json()["error"]
            assert (error["param"], error["code"]) == ("prompt", "unsupported_parameter")


def test_a_server_that_thinks_by_default_still_completes_text() -> None:
    with serving(Settings(engine="scripted", decoder="rc"), base=ScriptedEngine([REPLY], model="base")) as running:
        assert post(running, prompt="x").json()["choices"][0]["text"] == REPLY


@pytest.fixture(scope="module")
def shipped() -> Iterator[Live]:
    engine = EmbeddedEngine(Path(SHIPPED), model="tiny", threads=1)
    assert isinstance(engine, Tokenizing)
    with serving(pack="tiny", tiny=engine) as running:
        yield running


def test_text_and_its_ids_are_the_same_prompt(shipped: Live) -> None:
    text = "Use 12 11 8 6 to make 30."
    asked = {"model": "tiny", "max_tokens": 12, "temperature": 0, "return_token_ids": True}
    by_text = post(shipped, **asked, prompt=text).json()["choices"][0]
    by_ids = post(shipped, **asked, prompt=by_text["prompt_token_ids"]).json()["choices"][0]
    assert by_text == by_ids
    assert len(by_text["token_ids"]) == 12


def chat(running: Live, **fields: Any) -> httpx.Response:
    return httpx.post(f"{running.url}/v1/chat/completions", json={"model": "tiny", **fields}, timeout=20)


def test_a_chat_shows_its_ids_too(shipped: Live) -> None:
    messages = [{"role": "user", "content": "Use 12 11 8 6 to make 30."}]
    asked = {"messages": messages, "temperature": 0, "max_tokens": 12, "return_token_ids": True}
    whole = chat(shipped, **asked).json()
    continued = post(shipped, model="tiny", prompt=whole["prompt_token_ids"], max_tokens=12, temperature=0)
    text = continued.json()["choices"][0]["text"]
    assert whole["choices"][0]["message"]["reasoning"] in text
    assert len(whole["choices"][0]["token_ids"]) == 12
    lines = chat(shipped, **asked, stream=True).text.split("\n\n")
    last = json.loads(lines[-3].removeprefix("data: "))
    assert last["prompt_token_ids"] == whole["prompt_token_ids"]
    assert last["choices"][0]["token_ids"] == whole["choices"][0]["token_ids"]
    refused = chat(shipped, **asked, decoder="rc")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "return_token_ids")


def test_a_reply_that_has_begun_is_continued() -> None:
    engine = ScriptedEngine(lambda prompt, seed: f"[{prompt.messages[-1].content}|{prompt.prefix}]", model="base")
    question = {"role": "user", "content": "2 + 2?"}
    begun = [question, {"role": "assistant", "content": "It is"}]
    with serving(base=engine) as running:
        done = running.ask(messages=begun, continue_final_message=True, add_generation_prompt=False)
        assert done.json()["choices"][0]["message"]["content"] == "[2 + 2?|It is]"
        for fields, param in (
            ({"messages": begun, "continue_final_message": True, "decoder": "rc"}, "continue_final_message"),
            ({"messages": [question], "continue_final_message": True}, "continue_final_message"),
            ({"messages": begun[1:], "continue_final_message": True}, "messages"),
            ({"messages": [question], "add_generation_prompt": False}, "add_generation_prompt"),
            (
                {"messages": begun, "continue_final_message": True, "add_generation_prompt": True},
                "add_generation_prompt",
            ),
        ):
            assert running.ask(**fields).json()["error"]["param"] == param


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@hypothesis_settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(fields=st.dictionaries(st.sampled_from(sorted(CompletionRequest.model_fields)), _JSON, max_size=3))
def test_any_value_in_any_field_is_answered_or_refused(live: Live, fields: dict[str, Any]) -> None:
    body = json.dumps({"model": "base", "prompt": "x", **fields}).encode("utf-8", "surrogatepass")
    headers = {"content-type": "application/json"}
    response = httpx.post(f"{live.url}/v1/completions", content=body, headers=headers, timeout=20)
    assert response.status_code in (200, 400, 404), response.text
    if response.status_code != 200:
        assert response.json()["error"]["message"]
