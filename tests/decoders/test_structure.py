"""Response formats: which are accepted, what fits them, and what a run does when the engine does not keep to them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoders import build
from decoders.base import Decoder
from decoders.core.errors import InvalidOutput, InvalidRequest
from decoders.core.events import Answer, Delta
from decoders.core.messages import Prompt
from decoders.core.structure import check, check_tools, keeps, matches
from decoders.core.task import Reply
from decoders.core.trace import Trace
from server.engines.scripted import ScriptedEngine
from tests.decoders.options import decoders
from tests.decoders.support import decode, start


def form(schema: Any) -> str:
    return json.dumps({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})


ANY = '{"type": "json_object"}'
NUMBER = form({"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]})
TREE = form({"$ref": "#/$defs/t", "$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}})


@pytest.mark.parametrize(
    ("structure", "fits", "fails"),
    [
        ("", ["", "anything"], []),
        (ANY, ["{}", ' {"a": [1]}\n'], ["", "[]", "{", "```json\n{}\n```", "[" * 100_000]),
        (NUMBER, ['{"x": 1}'], ['{"x": 1.5}', "{}", "null"]),
        (TREE, ["[]", "[[[]],[]]"], ["{}", "[1]"]),
        (form({"$ref": "#"}), ["{}"], []),
    ],
)
def test_what_fits(structure: str, fits: list[str], fails: list[str]) -> None:
    assert [matches(structure, answer) for answer in (*fits, *fails)] == [True] * len(fits) + [False] * len(fails)


@pytest.mark.parametrize(
    "structure",
    [
        "{}",
        '{"type": "xml"}',
        '{"type": "json_schema"}',
        '{"type": "json_schema", "json_schema": 3}',
        '{"type": "json_object", "schema": {}}',
        '{"type": "json_schema", "json_schema": {"name": "x", "shema": {}}}',
        form(3),
        form({"type": "nothing"}),
        form({"pattern": "("}),
        form({"$ref": "#/$defs/none"}),
        form({"properties": {"a": [{"$ref": "http://127.0.0.1:9/schema"}]}}),
        form({"items": {"$ref": "file:///etc/hostname"}}),
        form(
            {
                "$ref": "#/$defs/a0",
                "$defs": {f"a{i}": {"anyOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 3} for i in range(18)},
            }
        ),
    ],
)
def test_a_format_that_is_none_is_refused(structure: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(structure)
    assert caught.value.param == "response_format"


def test_a_pattern_that_would_backtrack_for_ever_takes_no_time() -> None:
    assert not matches(form({"type": "string", "pattern": "^(a+)+$"}), json.dumps("a" * 5000 + "!"))


def test_strict_tools_hold_their_arguments_to_the_parameters() -> None:
    parameters = {"type": "object", "required": ["a"]}
    tools = json.dumps(
        [{"function": {"name": n, "parameters": parameters, "strict": n == "hard"}} for n in ("hard", "soft")]
    )
    check_tools(tools)
    assert keeps(tools, "hard", '{"a": 1}')
    assert not keeps(tools, "hard", "{}")
    assert not keeps(tools, "hard", "{")
    assert keeps(tools, "soft", "{")
    assert keeps("", "hard", "{")
    with pytest.raises(InvalidRequest):
        check_tools(json.dumps([{"function": {"name": "f", "parameters": {"type": 3}, "strict": True}}]))


def reply(prompt: Prompt, seed: int) -> str:
    """Now and then what was asked for."""
    return ['{"x": 1}', '{"x": "one"}', "<think>hm hm</think>" + '{"x": 2}', "Verdict: correct", "hm " * 40][seed % 5]


WANTED = Reply({"structure": NUMBER})


@settings(max_examples=150, deadline=None)
@given(decoder=decoders(), tokens=st.integers(1, 300), seed=st.integers(0, 2**31))
def test_a_complete_answer_has_the_form_or_there_is_none(decoder: Decoder, tokens: int, seed: int) -> None:
    run = start(ScriptedEngine(reply), tokens, seed=seed, reply=WANTED)
    try:
        answer = decode(decoder, run)[-1]
    except InvalidOutput:
        answer = None
    assert run.budget.spent <= tokens
    if isinstance(answer, Answer) and answer.finish != "length":
        assert matches(NUMBER, answer.text)
    again = start(
        ScriptedEngine(reply),
        tokens,
        seed=seed,
        reply=WANTED,
        recorded=Trace.model_validate(run.trace.model_dump()).steps,
    )
    if answer is not None:
        assert decode(decoder, again)[-1] == answer
        assert again.trace.usage() == run.trace.usage()


def test_a_reply_of_another_form_is_drawn_again_each_time_as_a_step() -> None:
    engine = ScriptedEngine(["no", "{}", '{"x": 3}'])
    run = start(engine, reply=WANTED)
    told = decode(build("direct", {}), run)
    assert isinstance(told[-1], Answer)
    assert (told[-1].text, told[-1].finish) == ('{"x": 3}', "stop")
    assert [step.key for step in run.trace.steps] == ["0", "0~1", "0~2"]
    assert [step.completion.valid for step in run.trace.steps] == [False, False, True]
    # JSON that has been shown as the answer could not be taken back
    assert not any(event.final for event in told if isinstance(event, Delta))


def test_attempts_end_and_the_model_was_told_what_is_wanted() -> None:
    seen: list[Prompt] = []

    def answer(prompt: Prompt, seed: int) -> str:
        seen.append(prompt)
        return "no"

    with pytest.raises(InvalidOutput):
        decode(build("direct", {}), start(ScriptedEngine(answer), reply=WANTED))
    assert len(seen) == 3
    assert all('"required": ["x"]' in prompt.messages[-1].content for prompt in seen)


def test_an_engine_that_keeps_to_formats_is_left_to_it() -> None:
    engine = ScriptedEngine(['{"x": 3}'])
    engine.features |= {"structure"}
    run = start(engine, reply=WANTED)
    told = decode(build("direct", {}), run)
    assert run.trace.steps[0].sampling["structure"] == NUMBER
    assert run.trace.steps[0].messages == (("user", "What is 2 + 2?"),)
    assert "".join(event.text for event in told if isinstance(event, Delta) and event.final) == '{"x": 3}'


def test_a_cut_answer_is_the_callers_to_see() -> None:
    run = start(ScriptedEngine(['{"x": 3 ']), 1, reply=WANTED)
    answer = decode(build("direct", {}), run)[-1]
    assert isinstance(answer, Answer)
    assert (answer.text, answer.finish) == ('{"x":', "length")
