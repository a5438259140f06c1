"""What a request may contain without getting anything but an answer: URLs, paths, templates, schemas, huge options."""

from __future__ import annotations

import json
import logging
import socket
import time
from typing import Any

import httpx
import pytest

from server.engines.scripted import ScriptedEngine
from tests.security.conftest import guarded
from tests.server.conftest import Live, until

FORBIDDEN = [
    "http://169.254.169.254/latest/meta-data/",
    "http://localhost:8000/metrics",
    "https://evil.example/cat.png",
    "http://2130706433/",
    "http://[::1]/",
    "http://media.example@evil.example/",
    "http://evil.example#@media.example/",
    "http://media.example\\@evil.example/",
    "https://media.example.evil.example/",
    "https://media.example:8443/",
    "file:///etc/passwd",
    "FILE:/etc/passwd",
    "ftp://media.example/",
    "//media.example/cat.png",
    "/etc/passwd",
    "cat.png",
    " data:image/png;base64,AAAA",
]
ALLOWED = ["data:image/png;base64,AAAA", "https://media.example/cat.png?x=1", "http://cdn.example:8080/cat.png"]


def by_chat(live: Live, url: str) -> httpx.Response:
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": url}}]
    return live.ask(messages=[{"role": "user", "content": parts}])


def by_responses(live: Live, url: str) -> httpx.Response:
    content = [{"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": url}]
    body = {"model": "base", "input": [{"role": "user", "content": content}]}
    return httpx.post(f"{live.url}/v1/responses", json=body)


def by_messages(live: Live, url: str, path: str = "/v1/messages") -> httpx.Response:
    content = [{"type": "text", "text": "see"}, {"type": "image", "source": {"type": "url", "url": url}}]
    body: dict[str, Any] = {"model": "base", "messages": [{"role": "user", "content": content}]}
    return httpx.post(live.url + path, json=body | ({"max_tokens": 99} if path == "/v1/messages" else {}))


def by_counting(live: Live, url: str) -> httpx.Response:
    return by_messages(live, url, "/v1/messages/count_tokens")


def by_tokenizing(live: Live, url: str) -> httpx.Response:
    parts = [{"type": "image_url", "image_url": {"url": url}}]
    return httpx.post(f"{live.url}/tokenize", json={"messages": [{"role": "user", "content": parts}]})


DIALECTS = [by_chat, by_responses, by_messages, by_counting, by_tokenizing]


@pytest.fixture(scope="module")
def media() -> Any:
    with guarded(media_hosts=["media.example", "cdn.example:8080"]) as running:
        yield running


@pytest.mark.parametrize("ask", DIALECTS)
def test_media_come_only_from_where_the_operator_says(media: Live, ask: Any) -> None:
    calls = media.engine.calls
    for url in FORBIDDEN:
        refused = ask(media, url)
        assert refused.status_code == 400, url
        assert "media are data: URLs" in refused.json()["error"]["message"]
    assert media.engine.calls == calls
    for url in ALLOWED:
        assert ask(media, url).status_code == 200, url


@pytest.mark.parametrize("ask", DIALECTS)
def test_by_default_only_data_passes(guard: Live, ask: Any) -> None:
    assert ask(guard, ALLOWED[0]).status_code == 200
    assert ask(guard, ALLOWED[1]).status_code == 400


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "file": {"file_url": "/etc/passwd"}},
        {"type": "file", "file": {"nested": [{"any": "https://evil.example/"}]}},
        {"type": "image_url", "image_url": {"url": "data:,", "also": "file:///etc/passwd"}},
        {"type": "video_url", "video_url": {"url": "https://evil.example/"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}, "audio_url": {"url": "http://x/"}},
    ],
    ids=json.dumps,
)
def test_a_url_cannot_hide_in_another_field(media: Live, part: dict[str, Any]) -> None:
    assert media.ask(messages=[{"role": "user", "content": [part]}]).status_code == 400


def test_other_media_pass(media: Live) -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    file = {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a:b.pdf"}}
    assert media.ask(messages=[{"role": "user", "content": [sound, file]}]).status_code == 200


def test_schemas_are_never_fetched(guard: Live) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/schema.json"
        for schema in (
            {"$ref": url},
            {"$id": url, "$ref": "other.json"},
            {"$schema": url},
            {"$ref": "file:///etc/passwd"},
        ):
            form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
            assert guard.ask(response_format=form).status_code == 400
            tool = {"type": "function", "function": {"name": "f", "strict": True, "parameters": schema}}
            assert guard.ask(tools=[tool]).status_code == 400
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_patterns_take_linear_time(guard: Live) -> None:
    """For a backtracking engine each of these is an answer that never comes."""
    for pattern in ("^(a+)+$", "^(a|aa)+$", "^(.*a){25}$"):
        schema = {"type": "object", "properties": {"x": {"type": "string", "pattern": pattern}}, "required": ["x"]}
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        words = json.dumps({"x": "a" * 5000 + "!"})
        engine = ScriptedEngine([words], model="base")
        with guarded(engine) as running:
            assert running.ask(response_format=form).status_code == 422


def test_schemas_of_many_patterns_are_refused(guard: Live) -> None:
    many = {"anyOf": [{"type": "string", "pattern": rf"[\p{{L}}]{{1,64}}{i}"} for i in range(2000)]}
    for schema in (many, {"patternProperties": {f"a{{100}}{i}": {} for i in range(2000)}}):
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        refused = guard.ask(response_format=form)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "response_format")


PATHS = [
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e/models",
    "....//",
    "a\x00b",
    "%00",
    "a%0d%0ab: c",
    "%ff%fe",
]


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_ids_in_paths_are_names_and_nothing_else(guard: Live, path: str) -> None:
    encoded = path.replace("\x00", "%00")
    for route in ("/v1/responses/", "/v1/models/", "/"):
        response = httpx.get(f"{guard.url}{route}{encoded}")
        assert response.status_code in (404, 405), (route, response.text)
        assert b"root:" not in response.content
        assert "location" not in response.headers


@pytest.mark.parametrize(
    "model", ["../../x", "/etc/passwd", "base/../base", "base:../rc", "file:///x", "base\r\nx", "a" * 1_000_000]
)
def test_models_are_names_and_nothing_else(guard: Live, model: str) -> None:
    response = guard.ask(model=model)
    assert response.status_code in (400, 404)
    assert len(response.content) < 2500


@pytest.mark.parametrize(
    "fields",
    [
        {"x" * 1_000_000: 1},
        {"decoder": "x" * 1_000_000},
        {"decoder": {"name": "rc", "x" * 1_000_000: 1}},
        {"decoder": {"name": "rc", "turns": "x" * 1_000_000}},
        {"reasoning_effort": "x" * 1_000_000},
        {"answer_format": "x" * 1_000_000},
        {"tool_choice": "x" * 1_000_000},
        {"response_format": {"type": "x" * 1_000_000}},
        {"messages": [{"role": "x" * 1_000_000, "content": "a"}]},
        {"messages": [{"role": "user", "content": [{"type": "x" * 1_000_000}]}]},
        {"messages": [{"role": "user", "content": "a", "x" * 1_000_000: 1}]},
    ],
    ids=lambda fields: json.dumps(fields)[:40],
)
def test_errors_repeat_what_they_were_sent_within_reason(guard: Live, fields: dict[str, Any]) -> None:
    response = guard.ask(**fields)
    assert response.status_code == 400
    assert len(response.content) < 2500


def test_many_wrong_items_are_refused_as_fast_as_one(guard: Live) -> None:
    """Each of these took seconds while every wrong item was written down, and everybody else waited."""
    for fields in ({"messages": [1] * 600_000}, {"messages": [{}] * 400_000}, {"stop": [1] * 600_000}):
        began = time.process_time()
        assert guard.ask(**fields).status_code == 400
        assert time.process_time() - began < 1.5


@pytest.mark.parametrize(
    ("decoder", "param"),
    [
        ({"name": "best_of_n", "n": 10**9}, "decoder.n"),
        ({"name": "rc", "turns": 10**12}, "decoder.turns"),
        ({"name": "rsa", "population": 10**6}, "decoder.population"),
        ({"name": "self_consistency", "n": 2**63}, "decoder.n"),
        ({"name": "rc", "turns": -(10**30)}, "decoder.turns"),
    ],
)
def test_huge_options_are_refused(guard: Live, decoder: dict[str, Any], param: str) -> None:
    refused = guard.ask(decoder=decoder)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] in (param, None)


def nested(depth: int, **options: Any) -> dict[str, Any]:
    decoder: dict[str, Any] = {"name": "direct"}
    for _ in range(depth):
        decoder = {"name": "best_of_n", "inner": decoder, **options}
    return decoder


@pytest.mark.parametrize("depth", [4, 40, 90])
def test_deeply_nested_decoders_are_refused(guard: Live, depth: int) -> None:
    refused = guard.ask(decoder=nested(depth))
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "decoder.inner")


def test_branches_inside_branches_are_bounded_by_the_purse(guard: Live) -> None:
    """256 branches of 256 branches of 256: without a bound 16 million coroutines for a hundred tokens."""
    answer = guard.ask(decoder=nested(3, n=256), max_completion_tokens=100)
    assert answer.status_code == 200
    assert answer.json()["usage"]["completion_tokens"] <= 100


TEMPLATES = [
    "{{ 7 * 7 }}",
    "{% for i in range(10**9) %}x{% endfor %}",
    "{{ ''.__class__.__mro__ }}",
    "{# gone #}",
    "${7*7}",
]


@pytest.mark.parametrize("text", TEMPLATES)
@pytest.mark.parametrize("decoder", ["direct", "rc", "self_refine", "best_of_n"])
def test_braces_in_a_question_are_text(text: str, decoder: str) -> None:
    prompts: list[str] = []

    def note(prompt: Any, seed: int) -> str:
        prompts.append(prompt.messages[-1].content)
        return f"<think>{text}</think>{text}"

    with guarded(ScriptedEngine(note, model="base")) as running:
        answer = running.ask(messages=[{"role": "user", "content": text}], decoder=decoder)
    assert answer.json()["choices"][0]["message"]["content"] == text
    assert all(text in prompt for prompt in prompts)


def test_a_client_that_leaves_amid_its_request_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n"
    )
    with caplog.at_level(logging.DEBUG, "longthink"), guarded(body_seconds=30) as running:
        with socket.create_connection(("127.0.0.1", running.port)) as connection:
            connection.sendall(head + b"{")
        assert until(lambda: any(record.getMessage().endswith(" 499") for record in caplog.records), 5)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
