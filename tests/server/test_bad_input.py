"""Whatever a client sends gets a 4xx in OpenAI's form that names the field, and the server goes on."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.api.wire import ChatRequest
from tests.server.conftest import HELLO, Live, serving

TOOL = {"type": "function", "function": {"name": "f"}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "x"}
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}

BAD: list[tuple[dict[str, Any], int, str]] = [
    ({"model": "nobody"}, 404, "model"),
    ({"model": "base:nope"}, 400, "model"),
    ({"model": ":"}, 404, "model"),
    ({"model": 3}, 400, "model"),
    ({"model": None}, 400, "model"),
    ({"decoder": "nope"}, 400, "decoder"),
    ({"decoder": 3}, 400, "decoder"),
    ({"decoder": ""}, 400, "decoder"),
    ({"decoder": {"name": 3}}, 400, "decoder"),
    ({"decoder": {"name": "rc", "turn": 3}}, 400, "decoder.turn"),
    ({"decoder": {"name": "rc", "turns": 0}}, 400, "decoder.turns"),
    ({"decoder": {"name": "rc", "turns": "many"}}, 400, "decoder.turns"),
    ({"decoder": {"name": "rc", "turns": "3"}}, 400, "decoder.turns"),
    ({"decoder": {"name": "rc", "turns": True}}, 400, "decoder.turns"),
    ({"decoder": {"name": "rc", "summary_model": "nobody"}}, 400, "decoder.summary_model"),
    ({"model": "base:rc", "decoder": "direct"}, 400, "decoder"),
    ({"messages": []}, 400, "messages"),
    ({"messages": "hello"}, 400, "messages"),
    ({"messages": [{"role": "robot", "content": "x"}]}, 400, "messages[0].role"),
    ({"messages": [{"role": "tool", "content": "x"}]}, 400, "messages[0].tool_call_id"),
    ({"messages": [*HELLO, {"role": "tool", "content": "x", "tool_call_id": "y"}]}, 400, "messages[1].tool_call_id"),
    ({"messages": [{**HELLO[0], "tool_call_id": "y"}]}, 400, "messages[0].tool_call_id"),
    ({"messages": [{**HELLO[0], "tool_calls": [CALL]}]}, 400, "messages[0].tool_calls"),
    ({"messages": [{"role": "assistant", "tool_calls": [CALL]}, RESULT]}, 400, "messages"),
    ({"messages": [{"role": "assistant", "tool_calls": [CALL]}]}, 400, "messages[0].role"),
    ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, 400, "messages[0].role"),
    ({"messages": [{"role": "system", "content": [PICTURE]}, *HELLO]}, 400, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{**PICTURE, "image_url": {}}]}]}, 400, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": ["text"]}]}]}, 400, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "hologram", "hologram": {}}]}]}, 400, "messages[0].content"),
    ({"messages": [{"role": "user"}]}, 400, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 3}]}, 400, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, 400, "messages[0].content"),
    ({"messages": [*HELLO, {"role": "assistant", "content": "hi"}]}, 400, "messages[1].role"),
    (
        {"messages": [{"role": "assistant", "content": "", "tool_calls": [{"id": "x"}]}, *HELLO]},
        400,
        "messages[0].tool_calls[0].function",
    ),
    ({"messages": [{"role": "user", "content": "x", "colour": "red"}]}, 400, "messages[0].colour"),
    ({"temperature": 9}, 400, "temperature"),
    ({"temperature": "0.7"}, 400, "temperature"),
    ({"temperature": True}, 400, "temperature"),
    ({"temprature": 1}, 400, "temprature"),
    ({"top_p": 0}, 400, "top_p"),
    ({"top_k": 1.5}, 400, "top_k"),
    ({"min_p": -1}, 400, "min_p"),
    ({"presence_penalty": 3}, 400, "presence_penalty"),
    ({"stop": ["a", "b", "c", "d", "e"]}, 400, "stop"),
    ({"stop": ""}, 400, "stop"),
    ({"stop": {"a": 1}}, 400, "stop"),
    ({"seed": 1.5}, 400, "seed"),
    ({"seed": 2**70}, 400, "seed"),
    ({"n": 0}, 400, "n"),
    ({"n": 9}, 400, "n"),
    ({"n": 5, "max_tokens": 3}, 400, "n"),
    ({"max_tokens": 0}, 400, "max_tokens"),
    ({"max_tokens": 10**9}, 400, "max_tokens"),
    ({"max_completion_tokens": 40_000}, 400, "max_completion_tokens"),
    ({"max_completion_tokens": 10, "max_tokens": 20}, 400, "max_tokens"),
    ({"thinking_token_budget": 0}, 400, "thinking_token_budget"),
    ({"reasoning_effort": "heroic"}, 400, "reasoning_effort"),
    ({"stream": "yes"}, 400, "stream"),
    ({"stream_options": {"include_usage": True}}, 400, "stream_options"),
    ({"stream": True, "stream_options": {"usage": True}}, 400, "stream_options.usage"),
    ({"logprobs": 5}, 400, "logprobs"),
    ({"top_logprobs": 5}, 400, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, 400, "top_logprobs"),
    ({"tools": [{"type": "function"}]}, 400, "tools[0].function"),
    ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, 400, "tools[0].type"),
    ({"tools": [{**TOOL, "function": {"name": "a b"}}]}, 400, "tools[0].function.name"),
    ({"tools": [{**TOOL, "function": {"name": "f", "parameters": "{}"}}]}, 400, "tools[0].function.parameters"),
    ({"tools": [{**TOOL, "function": {"name": "f", "colour": 1}}]}, 400, "tools[0].function.colour"),
    ({"tools": [{**TOOL, "function": {"name": "f", "parameters": {"type": 3}, "strict": True}}]}, 400, "tools"),
    ({"tools": [TOOL, TOOL]}, 400, "tools[1].function.name"),
    ({"tools": [TOOL] * 129}, 400, "tools"),
    ({"tools": TOOL}, 400, "tools"),
    ({"tool_choice": "required"}, 400, "tool_choice"),
    ({"tool_choice": "any", "tools": [TOOL]}, 400, "tool_choice"),
    ({"tool_choice": {"type": "function", "function": {"name": "g"}}, "tools": [TOOL]}, 400, "tool_choice"),
    ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}, "tools": [TOOL]}, 400, "tool_choice"),
    ({"parallel_tool_calls": 1}, 400, "parallel_tool_calls"),
    ({"functions": [{"name": "f"}]}, 400, "functions"),
    ({"response_format": "json"}, 400, "response_format"),
    ({"response_format": {"type": "xml"}}, 400, "response_format"),
    ({"response_format": {"type": "json_schema"}}, 400, "response_format"),
    ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": 1}}}}, 400, "response_format"),
    ({"answer_format": "haiku"}, 400, "answer_format"),
    ({"answer_format": ""}, 400, "answer_format"),
    ({"answer_format": "boxed", "response_format": {"type": "json_object"}}, 400, "answer_format"),
    ({"deadline_seconds": 0}, 400, "deadline_seconds"),
    ({"deadline_seconds": 1e9}, 400, "deadline_seconds"),
    ({"priority": 2**40}, 400, "priority"),
    ({"logit_bias": {"50256": -100}}, 400, "logit_bias"),
    ({"modalities": ["text", "audio"]}, 400, "modalities"),
    ({"store": True}, 400, "store"),
    ({"model": "small", "messages": [{"role": "user", "content": "word " * 9000}]}, 400, "messages"),
]


@pytest.mark.parametrize(("fields", "status", "param"), BAD, ids=[json.dumps(b[0])[:60] for b in BAD])
def test_refused_by_name(live: Live, fields: dict[str, Any], status: int, param: str) -> None:
    for stream in ({}, {"stream": True}) if "stream" not in fields and param != "stream_options" else ({},):
        response = live.ask(**fields, **stream)
        error = response.json()["error"]
        assert (response.status_code, error["param"]) == (status, param), error
        assert set(error) == {"message", "type", "param", "code"}
        assert isinstance(error["code"], str)
        assert error["type"] == "invalid_request_error"
    assert live.ask().status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"null", 400),
        (b'"text"', 400),
        (b'{"model": "base", "messages": [{"role": "user", "content": "\xff\xfe"}]}', 400),
        (b'{"model": "base", "messages": [{"role": "user", "content": "\\ud800"}]}', 400),
        (b'{"model": "base", "temperature": NaN}', 400),
        (b"[" * 100_000, 400),
        (b'{"model": "base", "messages": [], "tools": ' + b'{"a": ' * 900 + b"1" + b"}" * 901, 400),
        (b"x" * 10_000_000, 413),
    ],
    ids=["empty", "cut", "array", "null", "string", "invalid UTF-8", "surrogate", "NaN", "unclosed", "deep", "10 MB"],
)
def test_bodies_that_are_no_request(live: Live, body: bytes, status: int) -> None:
    response = live.post(body)
    assert response.status_code == status, response.text
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert live.ask().status_code == 200


def test_missing_fields_are_named(live: Live) -> None:
    error = live.post({"messages": HELLO}).json()["error"]
    assert (error["param"], error["code"]) == ("model", "missing_required_parameter")
    assert "temperature" in live.ask(temprature=1).json()["error"]["message"]


def test_a_body_without_an_announced_length_is_limited_too(live: Live) -> None:
    response = httpx.post(
        f"{live.url}/v1/chat/completions",
        content=(b"x" * 65536 for _ in range(100)),
        headers={"content-type": "application/json"},
    )
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"


def test_a_client_that_asks_first_does_not_send_a_body_too_large(live: Live) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", live.port), timeout=5) as connection:
        connection.sendall(head + b"content-length: 10000000\r\nexpect: 100-continue\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nope", 404), ("GET", "/v1/chat/completions", 405), ("DELETE", "/v1/models", 405)],
)
def test_routes_that_are_not_there(live: Live, method: str, path: str, status: int) -> None:
    response = httpx.request(method, live.url + path)
    assert response.status_code == status
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_other_media_types_are_refused(live: Live) -> None:
    body = json.dumps({"model": "base", "messages": HELLO}).encode()
    assert live.post(body, **{"content-type": "text/plain"}).status_code == 415
    assert live.post(body, **{"content-type": "application/json; charset=utf-8"}).status_code == 200


def test_a_question_the_checkpoint_does_not_know_is_the_clients_error() -> None:
    with serving(pack="tiny") as running:
        for stream in (False, True):
            response = running.ask(stream=stream)
            error = response.json()["error"]
            assert response.status_code == 400
            assert (error["code"], error["param"]) == ("question_out_of_scope", "messages")
            assert "--model" in error["message"]
        known = [{"role": "user", "content": "Please use 5, 8, 9 and 5 to make 18."}]
        assert running.ask(messages=known).status_code == 200


def test_harmless_fields_are_accepted(live: Live) -> None:
    response = live.ask(
        user="me",
        metadata={"a": "b"},
        store=False,
        service_tier="auto",
        parallel_tool_calls=True,
        tools=[],
        tool_choice="auto",
        response_format={"type": "text"},
        temperature=None,
        n=None,
        stop=None,
        logit_bias={},
        repetition_penalty=1.0,
    )
    assert response.status_code == 200, response.text


def test_a_reply_can_be_sent_back_as_it_came(live: Live) -> None:
    reply = live.ask().json()["choices"][0]["message"]
    system = {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]}
    assert live.ask(messages=[system, *HELLO, reply, *HELLO]).status_code == 200


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(fields=st.dictionaries(st.sampled_from(sorted(ChatRequest.model_fields)), _JSON, max_size=4))
def test_any_value_in_any_field_is_answered_or_refused(live: Live, fields: dict[str, Any]) -> None:
    body = json.dumps({"model": "base", "messages": HELLO, **fields}).encode("utf-8", "surrogatepass")
    response = live.post(body)
    assert response.status_code in (200, 400, 404), response.text
    if response.status_code != 200:
        assert response.json()["error"]["message"]
