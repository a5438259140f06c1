"""Training rows of episodes: exact ids, what the model wrote told apart from what it was shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from decoders import build
from decoders.core.budget import Budget
from decoders.core.engine import Engine, Tokenizing
from decoders.core.errors import InvalidRequest, ReplayMismatch
from decoders.core.messages import Attachment, Message, Prompt
from decoders.core.rows import Row, carried_out, rows
from decoders.core.run import Run
from decoders.core.task import Model, Task
from decoders.core.trace import Trace
from decoders.prompts import Pack
from server.engines.embedded import EmbeddedEngine
from server.engines.scripted import ScriptedEngine
from tests.decoders.boxes import Boxes, opener
from tests.decoders.support import TASK, collect
from tests.engines.support import save, serve


async def episode(engine: Engine, world: Boxes, task: Task = TASK, **options: object) -> Trace:
    run = Run({"m": Model(engine, Pack.load("tiny"))}, "m", Budget(2000), seed=1, environment=opener(world))
    await collect(build("tti", options), run, task)
    return Trace.model_validate_json(run.trace.model_dump_json())


def read(trace: Trace, engine: ScriptedEngine) -> list[Row]:
    return asyncio.run(rows(trace, engine))


def walk(
    replies: list[str] | Callable[[Prompt, int], str], world: Boxes | None = None, **options: object
) -> tuple[Trace, ScriptedEngine]:
    engine = ScriptedEngine(replies)
    return asyncio.run(episode(engine, world or Boxes(3), **options)), engine


def texts(row: Row, engine: ScriptedEngine, mask: int) -> str:
    ids = [id for id, wrote in zip(row.ids, row.mask, strict=True) if wrote == mask]
    return asyncio.run(engine.detokenize(ids))


def test_an_episode_is_one_row_in_which_observations_are_masked() -> None:
    trace, engine = walk(["open 1", "open 2", "answer k0"], min_answers=1)
    (row,) = read(trace, engine)
    assert texts(row, engine, 1) == "open 1open 2answer k0"
    assert "box 1 holds nothingbox 2 holds nothing" in texts(row, engine, 0)
    assert row.steps == ("1", "3", "5")
    assert row.reward == 0.0
    assert len(row.ids) == trace.steps[-1].completion.prompt_tokens + 2


def test_where_the_history_is_trimmed_each_reply_has_a_row() -> None:
    trace, engine = walk(["open 1", "open 2", "answer k0"], min_answers=1, keep_observations=1)
    found = read(trace, engine)
    assert [row.steps for row in found] == [("1",), ("3",), ("5",)]
    assert [texts(row, engine, 1) for row in found] == ["open 1", "open 2", "answer k0"]


def test_of_several_samples_the_one_that_was_carried_out_is_trained() -> None:
    def torn(prompt: Prompt, seed: int) -> str:
        if len(prompt.messages) > 3:
            return "answer k0"
        return ["open 1", "open 2", "open 2"][seed % 3]

    trace, engine = walk(torn, samples=3, min_answers=1)
    assert [step.completion.answer for step in carried_out(trace)] == ["open 2", "open 2", "answer k0"]
    assert read(trace, engine)[0].mask.count(1) == 6


def test_calls_of_tools_are_in_the_prompts_again() -> None:
    def calls(prompt: Prompt, seed: int) -> str:
        made = json.dumps({"name": "open", "arguments": {"box": 1}})
        return f"<tool_call>{made}</tool_call>" if len(prompt.messages) < 3 else "k0"

    trace, engine = walk(calls, Boxes(3, tools=True), min_answers=1)
    found = read(trace, engine)
    assert [key for row in found for key in row.steps] == ["1", "3"]


def test_what_is_not_in_the_trace_is_an_error() -> None:
    engine = ScriptedEngine(["answer k0"])
    picture = Attachment('{"type": "image_url", "image_url": {"url": "data:,"}}')
    trace = asyncio.run(episode(engine, Boxes(3), Task((Message("user", "look", (picture,)),)), min_answers=1))
    with pytest.raises(ReplayMismatch):
        read(trace, engine)
    done = trace.steps[0].completion.model_copy(update={"token_ids": ()})
    untold = trace.model_copy(update={"steps": [trace.steps[0].model_copy(update={"completion": done})]})
    with pytest.raises(InvalidRequest, match="tells none"):
        read(untold, engine)


def test_a_trace_without_actions_has_no_rows() -> None:
    assert read(Trace(), ScriptedEngine()) == []


def test_the_embedded_engines_ids_are_exact(tmp_path: Path) -> None:
    async def use(engine: EmbeddedEngine) -> None:
        assert isinstance(engine, Tokenizing)
        trace = await episode(engine, Boxes(3), max_steps=4, think_tokens=8, min_answers=1)
        found = await rows(trace, engine)
        assert [key for row in found for key in row.steps] == [step.key for step in trace.steps]
        assert len(trace.steps) == 5
        written = [id for row in found for id, wrote in zip(row.ids, row.mask, strict=True) if wrote]
        assert written == [id for step in trace.steps for id in step.completion.token_ids]
        by_key = {step.key: step for step in trace.steps}
        for row in found:
            last = by_key[row.steps[-1]].completion
            assert len(row.ids) == last.prompt_tokens + last.completion_tokens

    serve(save(tmp_path, "qwen2"), use)
