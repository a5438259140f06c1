"""Logs: one record a line, whatever a client sends, with its request, and never with a secret."""

from __future__ import annotations

import io
import json
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from server import logs
from server.context import Origin, on_behalf_of
from server.engines.scripted import ScriptedEngine
from server.model_options import ModelOptions, UpstreamHost
from server.settings import Settings
from tests.server.conftest import HELLO, Live, own_logging, serving
from tests.server.test_command import command

NASTY = "a\r\nERROR longthink: forged\x1b[31m\u2028\u0085\u202e\x00\ud800z"
LINE_ENDS = set("\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")


@contextmanager
def logged(format: str = "json", level: str = "debug", **fields: Any) -> Iterator[io.StringIO]:
    """What is logged while these settings hold; afterwards logging is as it was."""
    stream = io.StringIO()
    with own_logging():
        logs.configure(Settings(engine="scripted", log_format=format, log_level=level, **fields), stream)
        yield stream


def records(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def access(stream: io.StringIO) -> dict[str, Any]:
    (line,) = [record for record in records(stream) if record["logger"] == "longthink.access"]
    return line


def fail_with(text: str) -> None:
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger("longthink").exception("it failed: %s", text)


@pytest.fixture(scope="module")
def plain() -> Iterator[Live]:
    with serving(base=ScriptedEngine(model="base")) as running:
        yield running


def test_a_request_is_one_line_with_its_ids_and_figures(plain: Live) -> None:
    with logged(level="info") as stream:
        answer = plain.post({"model": "base", "messages": HELLO, "decoder": "rsa"}, **{"x-request-id": "mine"})
    line = access(stream)
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/chat/completions", 200)
    assert (line["request_id"], line["run_id"]) == ("mine", answer.json()["id"])
    assert (line["model"], line["decoder"]) == ("base", "rsa")
    assert (line["bytes"], line["tokens"]) == (len(answer.content), answer.json()["usage"]["completion_tokens"])
    assert line["message"] == "POST /v1/chat/completions 200"
    assert 0 < line["seconds"] < 60
    assert (line["level"], line["time"][-1]) == ("info", "Z")


def test_a_stream_is_logged_with_all_its_bytes(plain: Live) -> None:
    with logged(level="info") as stream:
        body = {"model": "base", "messages": HELLO, "stream": True}
        size = len(httpx.post(f"{plain.url}/v1/chat/completions", json=body).content)
    assert access(stream)["bytes"] == size


def test_probes_are_quiet_unless_one_looks_for_them(plain: Live) -> None:
    for level, count in (("info", 0), ("debug", 3)):
        with logged(level=level) as stream:
            for path in ("/health", "/ready", "/metrics"):
                httpx.get(plain.url + path)
        assert len([r for r in records(stream) if r["logger"] == "longthink.access"]) == count


def test_request_lines_can_be_turned_off() -> None:
    with serving(Settings(engine="scripted", log_requests=False)) as quiet, logged(level="info") as stream:
        assert quiet.ask().status_code == 200
    assert records(stream) == []


def test_requests_side_by_side_keep_their_own_ids(plain: Live) -> None:
    with logged(level="info") as stream, httpx.Client(base_url=plain.url) as client:
        for i in range(5):
            client.post("/v1/chat/completions", json={"model": "none"}, headers={"x-request-id": f"id-{i}"})
    assert [record["request_id"] for record in records(stream)] == [f"id-{i}" for i in range(5)]


@pytest.mark.parametrize("format", ["text", "json"])
def test_what_clients_send_stays_on_its_line(plain: Live, format: str) -> None:
    model = NASTY.replace("\ud800", "")
    with logged(format) as stream:
        httpx.post(f"{plain.url}/v1/chat/completions", json={"model": model, "messages": HELLO})
        httpx.get(f"{plain.url}/a%0d%0aERROR%20longthink:%20forged%1b%5b31m%e2%80%a8%c2%85")
        with socket.create_connection(("127.0.0.1", plain.port)) as connection:
            connection.sendall(b"GET /raw HTTP/1.1\r\nhost: x\r\nx-request-id: a\x1b[31m\xe2\x80\xa8b\r\n\r\n")
            connection.recv(4096)
    text = stream.getvalue()
    lines = text.split("\n")
    assert LINE_ENDS & set(text) <= {"\n"}
    assert "\x1b" not in text
    assert not [line for line in lines if line.startswith("ERROR")]
    assert len([line for line in lines if "/a" in line and "forged" in line]) == 1
    if format == "json":
        paths = [json.loads(line).get("path") for line in lines if line]
        assert "/a\r\nERROR longthink: forged\x1b[31m\u2028\x85" in paths


@pytest.mark.parametrize("format", ["text", "json"])
def test_every_field_and_exception_is_made_harmless(format: str) -> None:
    with logged(format) as stream, on_behalf_of(Origin(request=NASTY, model=NASTY, key=NASTY)):
        fail_with(NASTY)
    text = stream.getvalue()
    assert LINE_ENDS & set(text) <= {"\n"}
    assert not set(text) & {"\x1b", "\x00", "\u202e", "\ud800"}
    head, *rest = text.removesuffix("\n").split("\n")
    if format == "json":
        assert rest == []
        assert "ValueError" in json.loads(head)["exception"]
    else:
        assert all(line.startswith("  | ") for line in rest)
        assert "ValueError" in rest[-3] + rest[-2] + rest[-1]


def test_a_process_logs_json_alone_where_there_is_no_terminal() -> None:
    with command("--log-level", "debug") as (process, url):
        with socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0)) as connection:
            connection.sendall(b"no HTTP\r\n\r\n")
            connection.recv(4096)
        assert httpx.post(f"{url}/v1/chat/completions", json={"model": "scripted", "messages": HELLO}).is_success
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        assert process.stderr is not None
        found = [json.loads(line) for line in process.stderr]
    assert {"uvicorn.error", "longthink.access"} <= {record["logger"] for record in found}
    assert "Invalid HTTP request received." in [record["message"] for record in found]


SECRETS = {
    "webhook_secret": "whsec-geheim-1",
    "admin_key": "admin-geheim-0123456789",
    "otlp_headers": {"x-token": "collector-geheim"},
}


def test_secrets_of_the_settings_are_struck_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", 'env-"geheim"')
    hosts = [
        UpstreamHost(url="http://a/v1", api_key="upstream-geheim"),
        UpstreamHost(url="http://b/v1", api_key_env="UPSTREAM_KEY"),
    ]
    more = {"other": ModelOptions(engine="upstream", upstream=hosts)}
    url = "http://user:url-geheim@host/hook"
    store = "redis://:store-geheim%21@10.0.0.1:6379/0"
    known = [
        "store-geheim!",
        "whsec-geheim-1",
        "admin-geheim-0123456789",
        "collector-geheim",
        "upstream-geheim",
        "url-geheim",
    ]
    for format in ("text", "json"):
        with logged(format, models=more, webhook_url=url, store=store, **SECRETS) as stream:
            for secret in [*known, 'env-"geheim"']:
                logging.getLogger("anybody").error("sent %s", secret)
                fail_with(secret)
        assert "geheim" not in stream.getvalue()
        assert stream.getvalue().count("***") >= 12


@pytest.mark.parametrize(
    "message",
    [
        "Authorization: Bearer sk-geheim",
        "authorization: Token geheim more geheim",
        "{'authorization': 'Basic dXNlcjpnZWhlaW0=', 'x-api-key': 'geheim'}",
        "[(b'Authorization', b'Bearer geheim'), (b'x-api-key', b'geheim')]",
        'headers={"x-api-key": "geheim", "cookie": "a=geheim; b=geheim"}',
        "connecting to redis://:geheim@10.0.0.1:6379/0 and rediss://user:geheim@host",
        "GET /?api_key=geheim",
        "password=geheim",
    ],
)
@pytest.mark.parametrize("format", ["text", "json"])
def test_what_looks_like_a_secret_is_struck_out(message: str, format: str) -> None:
    with logged(format) as stream:
        logging.getLogger("somebody").error("%s", message)
    assert "geheim" not in stream.getvalue()
    assert "dXNlcjpnZWhlaW0" not in stream.getvalue()
    if format == "json":
        assert json.loads(stream.getvalue())["message"]


def test_ordinary_words_are_left_alone() -> None:
    message = "the upstream refused the API key (HTTP 401), basic facts, the bearer of news, a secret"
    with logged() as stream:
        logging.getLogger("longthink").error(message)
    assert records(stream)[0]["message"] == message


def test_keys_of_requests_are_not_logged_at_debug(plain: Live) -> None:
    with logged(level="debug") as stream:
        headers = {"authorization": "Bearer sk-geheim-1", "x-api-key": "geheim-2", "cookie": "session=geheim-3"}
        assert plain.post({"model": "base", "messages": HELLO}, **headers).status_code == 200
        assert plain.post(b"{", **headers).status_code == 400
        httpx.get(f"{plain.url}/v1/models?api_key=geheim-4", headers=headers)
    assert access_count(stream) == 3
    assert "geheim" not in stream.getvalue()


def access_count(stream: io.StringIO) -> int:
    return len([record for record in records(stream) if record["logger"] == "longthink.access"])
