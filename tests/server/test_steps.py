"""The ends of steps in a stream: what clients need to show a run as it unfolds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from decoders import registry
from decoders.core.messages import Prompt, Sampling
from server.engines.scripted import ScriptedEngine
from server.steps import KINDS
from tests.server.conftest import Live, serving


def speak(prompt: Prompt, sampling: Sampling) -> str:
    """Solutions answer 42, by way of a thought; verdicts of the plain pack's form reject it."""
    return "Verdict: wrong" if "Verdict:" in prompt.messages[-1].content else "<think>well</think>so \\boxed{42}"


@pytest.fixture(scope="module")
def speaking() -> Iterator[Live]:
    with serving(base=ScriptedEngine(speak, model="base")) as running:
        yield running


def ends(events: list[Any]) -> list[dict[str, Any]]:
    marks = [event.get("longthink", {}) for event in events if isinstance(event, dict)]
    return [mark for mark in marks if mark.get("event") == "finished"]


def test_the_end_of_each_step_is_told_with_its_tokens_and_what_is_left(speaking: Live) -> None:
    events = speaking.events(decoder={"name": "rc", "turns": 3}, max_completion_tokens=100, include_steps=True)
    told = ends(events)
    assert [(end["step"], end["kind"]) for end in told] == [
        ("0", "turn"), ("1", "summary"), ("2", "turn"), ("3", "summary"), ("4", "turn")
    ]  # fmt: skip
    spent = events[-2]["longthink"]["budget"]["spent"]
    assert sum(end["tokens"] for end in told) == spent
    assert {end["budget"] for end in told} == {100}
    assert told[0]["answer"] == "42"
    assert "answer" not in told[1]


def test_candidates_have_the_answers_that_votes_compare_and_verdicts_what_was_read(speaking: Live) -> None:
    told = ends(speaking.events(decoder={"name": "best_of_n", "n": 3}, include_steps=True))
    assert [end["answer"] for end in told if end["kind"] == "candidate"] == ["42"] * 3
    assert [end["verdict"] for end in told if end["kind"] == "verdict"] == [False]


def test_nobody_is_told_who_has_not_asked(speaking: Live) -> None:
    assert not ends(speaking.events(decoder="rc"))
    told = speaking.events(decoder={"name": "rc", "turns": 2}, include_steps=True, include_reasoning=False)
    assert len(ends(told)) == 3
    assert not any("reasoning" in choice["delta"] for event in told[:-1] for choice in event["choices"])


def test_a_stream_that_is_followed_from_any_place_has_the_same_ends(speaking: Live) -> None:
    fields = {"decoder": {"name": "self_consistency", "n": 4}, "include_steps": True, "background": True, "seed": 1}
    whole = speaking.events(**fields)
    datas = [event for event in whole if isinstance(event, dict)]
    url = f"{speaking.url}/v1/chat/completions/{datas[0]['id']}"
    again = httpx.get(url, params={"stream": "true", "starting_after": 3}).text
    assert again.count('"event":"finished"') == len(ends(whole)) - sum(bool(ends([e])) for e in datas[:4])
    assert len(ends(whole)) == 4


@pytest.mark.parametrize("name", [name for name in registry() if name not in ("tti", "auto")])
def test_every_role_has_a_kind(speaking: Live, name: str) -> None:
    told = ends(speaking.events(decoder=name, include_steps=True, max_completion_tokens=3000, seed=2))
    assert told
    assert {end["role"] for end in told} <= KINDS.keys()
