"""Keys over a real socket, with the official clients: who gets in, what they are told, what nobody gets to see."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import anthropic
import httpx
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.admission import keys
from server.engines.scripted import ScriptedEngine
from tests.server.admission.conftest import KeyFile, guarded
from tests.server.admission.counting import CountingStore
from tests.server.conftest import HELLO, Live, until
from tests.server.test_command import command

REPLY = "<think>one two three</think>four five"


@pytest.fixture
def live(file: KeyFile) -> Iterator[Live]:
    """Keys: free without limits, other too, few with two requests a minute."""
    file.add("free")
    file.add("other")
    file.add("few", requests_per_minute=2, tokens_per_day=100, max_budget=20)
    with guarded(file, ScriptedEngine([REPLY], model="base")) as running:
        yield running


def client(live: Live, key: str, **more: int) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{live.url}/v1", api_key=key, **{"max_retries": 0, **more})


def claude(live: Live, key: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=live.url, api_key=key, max_retries=0)


def test_official_clients_show_their_key(live: Live, file: KeyFile) -> None:
    with client(live, file.keys["free"]) as ours:
        assert ours.chat.completions.create(model="base", messages=HELLO).choices[0].message.content == "four five"
    with claude(live, file.keys["free"]) as theirs:
        assert theirs.messages.create(model="base", messages=HELLO, max_tokens=50).content[0].text == "four five"


def test_official_clients_are_refused_in_their_own_form(live: Live) -> None:
    with client(live, "lt-free-wrong") as ours, pytest.raises(openai.AuthenticationError) as refused:
        ours.chat.completions.create(model="base", messages=HELLO)
    assert (refused.value.code, refused.value.response.headers["www-authenticate"]) == ("invalid_api_key", "Bearer")
    with claude(live, "wrong") as theirs, pytest.raises(anthropic.AuthenticationError) as denied:
        theirs.messages.create(model="base", messages=HELLO, max_tokens=5)
    assert denied.value.body["error"]["type"] == "authentication_error"  # type: ignore[index]


def test_everything_but_the_open_paths_wants_a_key(live: Live) -> None:
    spec = httpx.get(f"{live.url}/openapi.json").json()
    open_paths = set()
    for path, methods in spec["paths"].items():
        for method in methods:
            answer = httpx.request(method, live.url + path.replace("{", "").replace("}", ""))
            if answer.status_code == 401:
                assert answer.headers["x-request-id"]
            else:
                open_paths.add(path)
    assert {path for path in open_paths if path.startswith(("/v1", "/tok", "/detok"))} == set()
    assert open_paths >= {"/health", "/ready", "/version", "/metrics"}


def test_limits_are_told_and_kept(live: Live, file: KeyFile) -> None:
    told = [_ask(live, file, "few") for _ in range(3)]
    assert [t.status_code for t in told] == [200, 200, 429]
    assert [t.headers["x-ratelimit-remaining-requests"] for t in told] == ["1", "0", "0"]
    assert [t.headers["x-ratelimit-remaining-tokens"] for t in told] == [
        "95",
        "91",
        "92",
    ]  # a share of 5, of which 4 are spent
    assert told[2].headers["retry-after"] == "60"
    error = told[2].json()["error"]
    assert (error["code"], error["type"]) == ("rate_limit_exceeded", "requests")
    listed = httpx.get(f"{live.url}/v1/models", headers=file.bearer("few"))
    assert (listed.status_code, listed.headers["x-ratelimit-limit-tokens"]) == (200, "100")
    assert "x-ratelimit-limit-requests" not in _ask(live, file, "free").headers
    assert live.metric("longthink:rejected_total", reason="rate_limit") == 1
    assert live.metric("longthink:request_failure_total") == 0


def _ask(live: Live, file: KeyFile, id: str, **fields: object) -> httpx.Response:
    body = {"model": "base", "messages": HELLO, **fields}
    return httpx.post(f"{live.url}/v1/chat/completions", json=body, headers=file.bearer(id), timeout=20)


def test_official_clients_wait_as_they_are_told(file: KeyFile) -> None:
    file.add("few", requests_per_minute=1)
    store = CountingStore()
    store.now += 59.5  # the next minute is near: a second is what the client is told to wait
    with guarded(file, ScriptedEngine([REPLY], model="base"), store) as live:
        with client(live, file.keys["few"]) as ours:
            ours.chat.completions.create(model="base", messages=HELLO)
            with pytest.raises(openai.RateLimitError) as limited:
                ours.chat.completions.create(model="base", messages=HELLO)
            assert limited.value.response.headers["retry-after"] == "1"
        with claude(live, file.keys["few"]) as theirs, pytest.raises(anthropic.RateLimitError):
            theirs.messages.create(model="base", messages=HELLO, max_tokens=5)
        asked = live.engine.calls
        with ThreadPoolExecutor(1) as pool, client(live, file.keys["few"], max_retries=2) as patient:
            refused = live.metric("longthink:rejected_total", reason="rate_limit")
            answer = pool.submit(patient.chat.completions.create, model="base", messages=HELLO)
            assert until(lambda: live.metric("longthink:rejected_total", reason="rate_limit") > refused, 10)
            store.now += 1
            assert answer.result(20).choices[0].message.content == "four five"
        assert live.engine.calls == asked + 1


def test_a_budget_is_the_smaller_of_two(live: Live, file: KeyFile) -> None:
    assert _ask(live, file, "few").json()["longthink"]["budget"]["tokens"] <= 20
    refused = _ask(live, file, "few", max_completion_tokens=21)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "max_completion_tokens")
    assert _ask(live, file, "free", max_completion_tokens=21).status_code == 200


def test_what_a_key_may_not_use_is_forbidden(file: KeyFile) -> None:
    file.add("narrow", models='["other"]')
    file.add("plain", decoders='["direct"]', priority=3)
    with guarded(file) as live:
        assert _error(_ask(live, file, "narrow")) == (403, "model", "not_allowed")
        assert _error(_ask(live, file, "plain", decoder="rc")) == (403, "decoder", "not_allowed")
        assert _error(_ask(live, file, "plain", priority=2)) == (400, "priority", "invalid_value")
        assert _ask(live, file, "plain", priority=4).status_code == 200


def _error(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["param"], error["code"]


def test_responses_belong_to_the_key_that_made_them(live: Live, file: KeyFile) -> None:
    with client(live, file.keys["free"]) as mine, client(live, file.keys["other"]) as theirs:
        for background in (False, True):
            made = mine.responses.create(model="base", input="hello", background=background)
            assert mine.responses.retrieve(made.id).id == made.id
            for attempt in (theirs.responses.retrieve, theirs.responses.cancel, theirs.responses.delete):
                with pytest.raises(openai.NotFoundError):
                    attempt(made.id)
            with pytest.raises(openai.BadRequestError, match="there is no response"):
                theirs.responses.create(model="base", input="more", previous_response_id=made.id)


def test_background_runs_are_charged_when_they_are_made(file: KeyFile) -> None:
    store = CountingStore()
    file.add("few", requests_per_minute=1, tokens_per_day=1000, max_budget=100)
    with guarded(file, ScriptedEngine([REPLY], model="base"), store) as live:
        with client(live, file.keys["few"]) as ours:
            made = ours.responses.create(model="base", input="hello", background=True)
            assert until(lambda: ours.responses.retrieve(made.id).status == "completed", 10)
            assert until(lambda: store.tokens("few") == 4, 10)
            with pytest.raises(openai.RateLimitError):
                ours.responses.create(model="base", input="hello", background=True)
        assert live.engine.calls == 1
        assert store.tokens("few") == 4


def test_a_store_out_of_reach_is_503(file: KeyFile) -> None:
    store = CountingStore()
    file.add("few", tokens_per_day=100)
    file.add("free")
    with guarded(file, store=store) as live:
        store.away = True
        refused = _ask(live, file, "few")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
        assert refused.headers["retry-after"] == "1"
        assert _ask(live, file, "free").status_code == 200
        assert httpx.get(f"{live.url}/v1/models", headers=file.bearer("few")).status_code == 200


def test_a_waiting_client_that_leaves_frees_its_place(file: KeyFile) -> None:
    file.add("few", tokens_per_day=1000, max_budget=100)
    store = CountingStore()
    engine = ScriptedEngine([" ".join(["word"] * 100)], model="base", token_delay=0.05)
    with guarded(file, engine, store, max_running=1) as live:
        first = _connect(live, file.keys["few"])
        assert until(lambda: engine.open_calls == 1, 10)
        waiting = [_connect(live, file.keys["few"]) for _ in range(3)]
        assert until(lambda: store.tokens("few") == 400, 10)
        assert until(lambda: live.metric("longthink:num_requests_waiting") == 3, 10)
        for connection in waiting:
            connection.close()
        assert until(lambda: store.tokens("few") == 100, 10)
        assert engine.calls == 1
        first.close()
        assert until(lambda: 0 < store.tokens("few") < 100 and not engine.open_calls, 10)


def _connect(live: Live, key: str) -> socket.socket:
    body = b'{"model": "base", "messages": [{"role": "user", "content": "x"}], "max_completion_tokens": 100}'
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-api-key: "
    connection = socket.create_connection(("127.0.0.1", live.port), timeout=10)
    connection.sendall(head + key.encode() + b"\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    return connection


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    file = KeyFile(tmp_path_factory.mktemp("keys") / "keys.toml")
    file.add("team")
    with guarded(file) as running:
        yield running


HEADER = st.binary(max_size=200).filter(lambda value: not set(value) & {0, 10, 13})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.one_of(HEADER, HEADER.map(lambda v: b"Bearer lt-team-" + v)),
    name=st.sampled_from(["authorization", "x-api-key"]),
)
def test_any_bytes_as_a_key_are_401(fuzzed: Live, value: bytes, name: str) -> None:
    with socket.create_connection(("127.0.0.1", fuzzed.port), timeout=10) as connection:
        head = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        connection.sendall(head + name.encode() + b": " + value + b"\r\n\r\n")
        status = int(connection.makefile("rb").readline().split()[1])
    # a control character may be refused by the HTTP parser before it is ours to judge
    parsed = not any((byte < 32 and byte != 9) or byte == 127 for byte in value)
    assert status in ({401} if parsed else {400, 401})


def test_keys_are_never_told(
    file: KeyFile, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    class Failing(ScriptedEngine):
        async def generate(self, prompt, sampling):  # type: ignore[no-untyped-def]
            raise RuntimeError("the card fell off the bus")
            yield

    file.add("team", requests_per_minute=5)
    wrong, _ = keys.create("team")
    told = list[str]()
    with caplog.at_level(logging.DEBUG):
        for engine in (ScriptedEngine(model="base"), Failing(model="base")):
            with guarded(file, engine) as live:
                for key in (file.keys["team"], wrong, "lt-nobody-" + file.keys["team"]):
                    for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}):
                        for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/nothing"):
                            body = {"model": "base", "messages": HELLO, "stream": path.endswith("s")}
                            answer = httpx.post(live.url + path, json=body, headers=headers, timeout=20)
                            told += [answer.text, str(answer.headers)]
                told.append(httpx.get(f"{live.url}/metrics").text)
    captured = capfd.readouterr()
    everything = "\n".join([*told, caplog.text, captured.out, captured.err])
    assert "fell off" in everything
    for key in (file.keys["team"], wrong):
        assert key.rpartition("-")[2] not in everything
        assert keys.digest(key.rpartition("-")[2]) not in everything


class Held(ScriptedEngine):
    """Speaks once it may."""

    held = True

    async def generate(self, prompt, sampling):  # type: ignore[no-untyped-def]
        while self.held:  # noqa: ASYNC110 (it is let go from another thread)
            await asyncio.sleep(0.001)
        async for chunk in super().generate(prompt, sampling):
            yield chunk


def test_a_key_that_floods_leaves_others_their_share(file: KeyFile) -> None:
    file.add("flood")
    file.add("few")
    engine, done = Held([REPLY], model="base"), list[str]()

    def ask(id: str) -> None:
        assert _ask(live, file, id).status_code == 200
        done.append(id)

    with guarded(file, engine, max_running=1) as live, ThreadPoolExecutor(24) as pool:
        floods = [pool.submit(ask, "flood") for _ in range(20)]
        fair = [pool.submit(ask, "few") for _ in range(3)]
        assert until(lambda: live.metric("longthink:num_requests_waiting") == 23, 10)
        engine.held = False
        for future in (*fair, *floods):
            future.result(20)
        assert live.metric("longthink:request_queue_time_seconds_count") == 23
        assert live.metric("longthink:request_queue_time_seconds_sum") > 0
    # one of the flood is at work before the others come; from then on they take turns
    assert max(i for i, id in enumerate(done) if id == "few") < 12


def test_at_shutdown_those_who_wait_are_told_and_those_at_work_finish() -> None:
    arguments = ("--scripted.token-delay", "0.2", "--max-running", "1")
    with command(*arguments) as (process, url), ThreadPoolExecutor(3) as pool:
        body = {"model": "scripted", "messages": HELLO}

        def ask() -> int:
            return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=20).status_code

        asked = [pool.submit(ask) for _ in range(3)]
        waiting = 'longthink:num_requests_waiting{decoder="direct",model="scripted"} 2.0'
        assert until(lambda: waiting in httpx.get(f"{url}/metrics").text, 10)
        process.send_signal(signal.SIGTERM)
        assert sorted(future.result(20) for future in asked) == [200, 503, 503]
        assert process.wait(10) == 0
