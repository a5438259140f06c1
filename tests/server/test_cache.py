"""Answers given again: only where they are repeatable, and only to the same question."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from server.engines.scripted import ScriptedEngine
from server.settings import Settings
from tests.server.conftest import HELLO, Live, serving

SEEDED = {"seed": 3, "decoder": {"name": "rc", "turns": 2}}


@pytest.fixture
def live() -> Iterator[Live]:
    with serving(Settings(engine="scripted", cache_seconds=60, cache_bytes=20_000)) as running:
        yield running


def without(body: Any, *names: str) -> Any:
    return {name: value for name, value in body.items() if name not in names}


@pytest.mark.parametrize("fields", [SEEDED, {"seed": 3, "n": 2}, {"temperature": 0}])
def test_a_repetition_asks_no_engine(live: Live, fields: dict[str, Any]) -> None:
    first, calls = live.ask(**fields).json(), live.engine.calls
    second = live.ask(**fields).json()
    assert live.engine.calls == calls
    assert second["longthink"].pop("cached") is True
    assert without(second, "id", "created") == without(first, "id", "created")
    assert second["id"] != first["id"]


def test_a_stream_repeats_what_was_answered_whole(live: Live) -> None:
    whole = live.ask(**SEEDED).json()
    told = live.events(**SEEDED)
    text = "".join(event["choices"][0]["delta"].get("content", "") for event in told[:-1])
    thought = "".join(event["choices"][0]["delta"].get("reasoning", "") for event in told[:-1])
    assert (text, thought) == (
        whole["choices"][0]["message"]["content"],
        whole["choices"][0]["message"]["reasoning"],
    )
    assert told[-2]["longthink"]["cached"]
    assert told[-1] == "[DONE]"


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 4},
        {"temperature": 0.5},
        {"top_p": 0.5},
        {"stop": "x"},
        {"n": 2},
        {"max_completion_tokens": 99},
        {"decoder": {"name": "rc", "turns": 3}},
        {"decoder": {"name": "best_of_n", "inner": "rc"}},
        {"decoder": {"name": "best_of_n", "inner": "direct"}},
        {"answer_format": "code"},
        {
            "response_format": {"type": "json_object"},
            "decoder": "direct",
            "messages": [{"role": "user", "content": "1"}],
        },
        {"messages": [{"role": "user", "content": "hello  there"}]},
        {"messages": [{"role": "system", "content": "be brief"}, *HELLO]},
    ],
)
def test_whatever_matters_is_in_the_key(live: Live, other: dict[str, Any]) -> None:
    live.ask(**SEEDED)
    calls = live.engine.calls
    live.ask(**{**SEEDED, **other})
    assert live.engine.calls > calls


@pytest.mark.parametrize("fields", [{}, {"temperature": 1}, {"seed": 1, "deadline_seconds": 60}])
def test_what_is_not_repeatable_is_asked_again(live: Live, fields: dict[str, Any]) -> None:
    live.ask(**fields)
    calls = live.engine.calls
    assert "cached" not in live.ask(**fields).json()["longthink"]
    assert live.engine.calls > calls


def test_a_client_can_want_it_fresh(live: Live) -> None:
    live.ask(**SEEDED)
    calls = live.engine.calls
    live.post({"model": "base", "messages": HELLO, **SEEDED}, **{"cache-control": "no-cache"})
    assert live.engine.calls > calls


def test_priority_does_not_matter_and_other_apis_have_it_too(live: Live) -> None:
    live.ask(**SEEDED, priority=1)
    assert live.ask(**SEEDED, priority=2).json()["longthink"]["cached"]
    asked = {"model": "base", "input": "hello there", **SEEDED}
    for _ in range(2):
        done = httpx.post(f"{live.url}/v1/responses", json=asked).json()
        assert done["longthink"]["cached"]
        assert done["status"] == "completed"


def test_large_answers_and_failures_are_not_kept() -> None:
    with serving(Settings(engine="scripted", cache_seconds=60, cache_bytes=10)) as running:
        for _ in range(2):
            assert "cached" not in running.ask(**SEEDED).json()["longthink"]
    with serving(
        Settings(engine="scripted", cache_seconds=60), base=ScriptedEngine(["no JSON"], model="base")
    ) as running:
        for expected in (1, 2):
            wanted = {"response_format": {"type": "json_object"}, "temperature": 0}
            assert running.ask(**wanted).status_code == 422
            assert running.engine.calls == expected


def test_it_is_off_unless_wanted() -> None:
    with serving() as running:
        running.ask(**SEEDED)
        assert "cached" not in running.ask(**SEEDED).json()["longthink"]
