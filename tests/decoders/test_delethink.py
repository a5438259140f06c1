from __future__ import annotations

import asyncio

from decoders import build
from decoders.core.events import Answer
from decoders.core.messages import Prompt
from server.engines.scripted import ScriptedEngine
from tests.decoders.support import TASK, decode, start

WORDS = ["<think>", *(f" w{i}" for i in range(40)), " </think>", " it", " is", " 4"]


def scripted(asked: list[Prompt]) -> ScriptedEngine:
    """A model that knows how far it has come from the last word it is shown, and nothing else."""

    def reply(prompt: Prompt, seed: int) -> str:
        asked.append(prompt)
        if prompt.token_ids is None:
            return "".join(WORDS)
        return "".join(WORDS[ids.index(prompt.token_ids[-1]) + 1 :])

    ids = asyncio.run(ScriptedEngine().tokenize(Prompt(text="".join(WORDS))))
    return ScriptedEngine(reply)


def test_a_chunk_reads_the_question_the_head_and_the_tail_and_no_more() -> None:
    asked: list[Prompt] = []
    engine = scripted(asked)
    run = start(engine)
    options = {"chunk_tokens": 12, "carry_tokens": 5, "head_tokens": 2, "chunks": 20}
    last = decode(build("delethink", options), run)[-1]
    assert isinstance(last, Answer)
    assert last.text == "it is 4"
    question = asyncio.run(engine.tokenize(asked[0]))
    carried = [asyncio.run(engine.detokenize(prompt.token_ids or ())) for prompt in asked[1:]]
    assert carried[0] == "What is 2 + 2?<think> w0 w6 w7 w8 w9 w10"
    assert carried[1] == "What is 2 + 2?<think> w0 w13 w14 w15 w16 w17"
    assert all(len(prompt.token_ids or ()) == len(question) + 2 + 5 for prompt in asked[1:])
    assert [s.completion.completion_tokens for s in run.trace.steps] == [12, 7, 7, 7, 7, 5]


def test_the_answer_is_that_of_the_whole_trace() -> None:
    run = start(scripted([]))
    last = decode(build("delethink", {"chunk_tokens": 12, "carry_tokens": 5, "head_tokens": 2, "chunks": 20}), run)[-1]
    assert isinstance(last, Answer)
    completion = last.completion
    assert completion is not None
    assert completion.text == "".join(WORDS)
    assert completion.reasoning == " ".join(word.strip() for word in WORDS[1:41])
    assert (completion.completion_tokens, completion.answer_tokens, completion.finish) == (len(WORDS), 3, "stop")
    assert len(completion.token_ids) == len(WORDS)


def test_it_stops_after_its_chunks() -> None:
    run = start(scripted([]))
    last = decode(build("delethink", {"chunk_tokens": 6, "carry_tokens": 2, "head_tokens": 1, "chunks": 3}), run)[-1]
    assert isinstance(last, Answer)
    assert (last.text, last.finish) == ("", "length")
    assert run.budget.spent == 6 + 4 + 4


def test_a_first_chunk_that_ends_is_all() -> None:
    run = start(ScriptedEngine(["<think>easy</think>4"]))
    assert decode(build("delethink", {}), run, TASK)[-1].text == "4"  # type: ignore[union-attr]
    assert len(run.trace.steps) == 1
