"""Replies that several calls write, and calls that are ended early."""

from __future__ import annotations

import asyncio

import pytest

from decoders.core.draft import Draft
from decoders.core.engine import Chunk
from decoders.core.trace import Completion
from server.engines.scripted import ScriptedEngine
from tests.decoders.support import TASK, start


def test_a_draft_in_thinking_goes_on_thinking() -> None:
    async def main() -> None:
        run = start(ScriptedEngine(["<think>one", " two</think> and", " four"]))
        prompt = run.prompt("solve", TASK)
        draft = await Draft().extend(prompt, run, role="a")
        assert draft.thinking
        draft = await draft.extend(prompt, run, role="b")
        assert not draft.thinking
        assert (draft.calls[1].reasoning, draft.calls[1].answer) == (" two", "and")
        whole = (await draft.extend(prompt, run, role="c")).completion()
        assert (whole.reasoning, whole.answer, whole.answer_tokens) == ("one two", "and four", 2)
        assert run.trace.steps[2].prefix == "<think>one two</think> and"

    asyncio.run(main())


def test_a_block_that_the_template_opened_is_seen_from_the_reasoning() -> None:
    first = Completion(text="hm ", reasoning="hm", completion_tokens=1)
    draft = Draft().plus(first)
    assert draft.thinking
    whole = draft.closed().plus(Completion(text="4", answer="4", completion_tokens=1, answer_tokens=1)).completion()
    assert (whole.text, whole.reasoning, whole.answer) == ("hm\n</think>\n\n4", "hm", "4")
    assert (whole.completion_tokens, whole.answer_tokens) == (2, 1)


@pytest.mark.parametrize(("text", "words", "expected"), [
    ("one.", "Wait", "one. Wait"), ("one.\n", "Wait", "one.\nWait"), ("one.", "\nWait", "one.\nWait"),
    ("", "Wait", "Wait"), ("one.", "", "one."),
])  # fmt: skip
def test_words_that_are_put_are_set_apart(text: str, words: str, expected: str) -> None:
    assert Draft(text).put(words).text == expected


def test_a_call_can_be_ended_at_any_chunk() -> None:
    async def main() -> None:
        engine = ScriptedEngine(["<think>a b</think> four five six seven"])
        run = start(engine)
        prompt = run.prompt("solve", TASK)

        def five(chunk: Chunk) -> bool:
            return "five" in chunk.text

        done = await run.generate(prompt, role="solve", until=five)
        assert (done.answer, done.finish, done.completion_tokens) == ("four five", "length", 4)
        assert engine.open_calls == 0
        assert (run.budget.spent, run.budget.reserved) == (4, 0)
        again = start(ScriptedEngine(["never asked"]), recorded=run.trace.steps)
        assert await again.generate(prompt, role="solve", until=five) == done

    asyncio.run(main())


def test_a_completion_that_has_ended_by_itself_is_not_ended_early() -> None:
    async def main() -> None:
        run = start(ScriptedEngine(["four"]))
        done = await run.generate(run.prompt("solve", TASK), role="solve", until=lambda chunk: True)
        assert done.finish == "stop"

    asyncio.run(main())
