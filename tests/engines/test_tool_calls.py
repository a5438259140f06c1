"""Blocks at the end of a completion become tool calls, however the text is cut into chunks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoders.core.engine import Chunk, Finish
from decoders.core.messages import Message, Prompt, Sampling, ToolCall
from server.engines.tool_calls import ToolCallReader

PROMPT = Prompt((Message("user", "hi"),), tools="[]")
ADD = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "ü": [2]}}\n</tool_call>'
NOW = '<tool_call>{"name": "now"}</tool_call>'

CASES: list[tuple[str, str, list[tuple[str, str]]]] = [
    ("plain text < 3 <tool", "plain text < 3 <tool", []),
    (ADD, "", [("add", '{"a": 1, "ü": [2]}')]),
    (f"I add. \n\n{ADD}\n{NOW}\n", "I add.", [("add", '{"a": 1, "ü": [2]}'), ("now", "{}")]),
    (f"<think>\nuse {ADD}?\n</think>\n\n{NOW}", f"<think>\nuse {ADD}?\n</think>", [("now", "{}")]),
    ("<think>I never end <tool_call>", "<think>I never end <tool_call>", []),
    ("a <tool_call>{broken}</tool_call> b", "a <tool_call>{broken}</tool_call> b", []),
    ("a <tool_call>[1]</tool_call>", "a <tool_call>[1]</tool_call>", []),
    (f"a {NOW} b", "a  b", [("now", "{}")]),
    (f"{NOW}<tool_call>\n{{", "<tool_call>\n{", [("now", "{}")]),
    (ADD.removesuffix("</tool_call>"), "", [("add", '{"a": 1, "ü": [2]}')]),
    ('<tool_call>{"name": "f", "arguments": "not json"}</tool_call>', "", [("f", "not json")]),
    ("  \n", "  \n", []),
]


def read(pieces: Sequence[str], finish: Finish = "stop", *, seed: int = 1, thinking: bool = False) -> list[Chunk]:
    reader = ToolCallReader(PROMPT, Sampling(100, seed=seed), 0)
    ends: list[Finish | None] = [*[None] * (len(pieces) - 1), finish]
    chunks = zip(pieces, ends, strict=True)
    return [reader.read(Chunk(t, (i,), finish=f, thinking=thinking and i == 0)) for i, (t, f) in enumerate(chunks)]


def named(calls: Sequence[ToolCall]) -> list[tuple[str, str]]:
    return [(call.name, call.arguments) for call in calls]


@given(case=st.sampled_from(CASES), cuts=st.lists(st.integers(0, 90), max_size=30))
def test_the_same_is_read_wherever_the_text_is_cut(
    case: tuple[str, str, list[tuple[str, str]]], cuts: list[int]
) -> None:
    text, shown, calls = case
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    chunks = read([text[a:b] for a, b in pairwise(places)])
    assert "".join(chunk.text for chunk in chunks) == shown
    assert named(chunks[-1].tool_calls) == calls
    assert chunks[-1].finish == ("tool_calls" if calls else "stop")
    assert [chunk.token_ids for chunk in chunks] == [(i,) for i in range(len(chunks))]
    assert chunks[-1].tool_calls == read([text])[-1].tool_calls


def test_text_is_shown_at_once_where_it_cannot_be_a_call() -> None:
    assert [chunk.text for chunk in read(["one ", "two <", "b ", "<tool", "box"])] == [
        "one",
        " two",
        " <b",
        "",
        " <toolbox",
    ]


def test_inside_an_open_thinking_block_nothing_is_a_call() -> None:
    chunks = read([f"maybe {NOW}", "</think>", ADD], thinking=True)
    assert "".join(chunk.text for chunk in chunks) == f"maybe {NOW}</think>"
    assert [name for name, _ in named(chunks[-1].tool_calls)] == ["add"]


def test_a_cut_completion_stays_cut() -> None:
    last = read([NOW + ADD[:30]], "length")[-1]
    assert (last.finish, named(last.tool_calls), last.text) == ("length", [("now", "{}")], ADD[:30])


@pytest.mark.parametrize("text", [NOW + NOW])
def test_ids_are_unique_and_repeat_with_the_seed(text: str) -> None:
    first, again, other = (read([text], seed=seed)[-1].tool_calls for seed in (1, 1, 2))
    ids = {call.id for calls in (first, again, other) for call in calls}
    assert first == again
    assert len(ids) == 4
    assert all(id.startswith("call_") and len(id) > 20 for id in ids)
    assert json.loads(first[0].arguments) == {}
