"""Closed connections, silent streams and full servers, seen from a raw socket."""

from __future__ import annotations

import time

import httpx
import pytest

from server.engines.scripted import ScriptedEngine
from server.settings import Settings
from tests.server.conftest import Live, serving, until

LONG = " ".join(["word"] * 5000)


def speaker(first: float = 0.0) -> ScriptedEngine:
    return ScriptedEngine([LONG], model="base", first_token_delay=first, token_delay=0.01)


@pytest.mark.parametrize("decoder", ["direct", "self_consistency", "rc"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("n", [1, 3])
def test_a_closed_connection_ends_every_engine_call_within_100_ms(decoder: str, stream: bool, n: int) -> None:
    with serving(base=speaker()) as running:
        connection = running.raw(decoder=decoder, stream=stream, n=n)
        assert until(lambda: running.engine.open_calls >= n, 5)
        if stream:
            connection.recv(100)
        connection.close()
        closed = time.monotonic()
        assert until(lambda: running.engine.open_calls == 0, 2)
        assert time.monotonic() - closed < 0.1
        calls = running.engine.calls
        assert until(lambda: running.metric("longthink:cancelled_total") == 1, 1)
        assert running.engine.calls == calls
        assert running.metric("longthink:num_requests_running") == 0
        assert running.metric("longthink:num_requests_waiting") == 0


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_before_the_first_token_is_noticed_too(stream: bool) -> None:
    with serving(base=speaker(first=30)) as running:
        connection = running.raw(stream=stream)
        assert until(lambda: running.engine.open_calls == 1, 5)
        connection.close()
        assert until(lambda: running.engine.open_calls == 0, 0.1)


def test_a_silent_stream_is_kept_alive(slow: Live) -> None:
    events = slow.events()
    assert events.count(": keep-alive") >= 2
    assert events[-1] == "[DONE]"
    text = "".join(c["delta"].get("content", "") for e in events if isinstance(e, dict) for c in e["choices"])
    assert text.split() == ["word"] * 40


def test_tokens_arrive_as_they_are_spoken(slow: Live) -> None:
    with slow.raw(stream=True) as connection:
        received, began, times = b"", time.monotonic(), []
        while b"[DONE]" not in received:
            received += connection.recv(65536)
            times.append(time.monotonic() - began)
    assert len([t for t in times if t > 0.4]) > 20


def test_a_full_server_says_so() -> None:
    with serving(Settings(engine="scripted", max_requests=1), base=speaker()) as running:
        with running.raw():
            assert until(lambda: running.engine.open_calls == 1, 5)
            for stream in (False, True):
                refused = running.ask(stream=stream)
                assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
                assert refused.headers["retry-after"]
            assert httpx.get(f"{running.url}/health").status_code == 200
        assert until(lambda: running.engine.open_calls == 0, 1)
        assert running.ask(max_tokens=1).status_code == 200


def test_a_closed_engine_is_unavailable_not_an_internal_error() -> None:
    with serving(base=ScriptedEngine(model="base")) as running:
        assert httpx.get(f"{running.url}/ready").status_code == 200
        running.engine._closed = True
        assert httpx.get(f"{running.url}/ready").status_code == 503
        refused = running.ask(stream=True)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_unavailable")
