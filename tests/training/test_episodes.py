from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.tasks.residues import Problem
from decoders.base import Run
from decoders.core.draft import Draft
from decoders.core.messages import Prompt, Sampling
from decoders.core.task import Model
from decoders.prompts import Pack
from server.engines.embedded import EmbeddedEngine
from server.engines.scripted import Reply, ScriptedEngine
from training import tiny
from training.episodes import ATTEMPTS, Probe, Segmentation, Thought, probe, progress, returns
from training.play import POLICY, Play

PROBLEM = Problem(20, ((7, 3), (5, 2)))
FOUND = "<think> try 9 7 2 no try 17 7 3 ok 5 2 ok yes </think> 17"


def play(replies: Reply | Sequence[str], **options: int) -> Play:
    engine = ScriptedEngine(replies, model=POLICY, **options)
    return Play({POLICY: Model(engine, Pack.load("residues"))}, Sampling(max_tokens=1), 0, 0)


async def thought(reply: str, tokens: int = 100, closing: str = "") -> Thought:
    """A reply, cut at so many tokens, with its episodes."""
    own = play([reply])
    run = own.run(tokens)
    await own.drive(run, lambda run: run.generate(run.prompt("solve", own.task(PROBLEM)), role="solve"))
    return await Thought.read(run.trace.steps[0], ATTEMPTS, closing, own)


def pieces(text: str, rule: Segmentation) -> list[str]:
    ends = rule.ends(text)
    return [text[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def test_prose_is_cut_where_a_paragraph_turns_about() -> None:
    steps = [
        "First.",
        "So.",
        "Thus.",
        "Wait, no.",
        "But wait.",
        "Then.",
        "Alternatively this.",
        "Waiting helps.",
        "End.",
    ]
    text = "\n\n".join(steps)
    found = pieces(text, Segmentation(merge=1))
    assert "".join(found) == text
    assert [piece.strip().split("\n\n") for piece in found] == [steps[:3], steps[3:6], steps[6:]]


def test_after_so_many_cuts_the_rest_is_one_episode() -> None:
    text = "\n\n".join(["Wait"] * 9)
    assert [piece.count("Wait") for piece in pieces(text, Segmentation(shortest=2, cuts=2, merge=1))] == [2, 2, 5]


def test_consecutive_episodes_are_merged() -> None:
    text = "\n\n".join(["Wait"] * 7)
    assert [piece.count("Wait") for piece in pieces(text, Segmentation(shortest=1, merge=3))] == [3, 3, 1]


def test_contexts_are_ended_as_budget_forcing_ends_a_thought() -> None:
    found = asyncio.run(thought(FOUND, closing="x ="))
    assert [context.text for context in found.contexts] == [
        "<think>\n</think>\n\nx =",
        "<think> try 9 7 2 no\n</think>\n\nx =",
        "<think> try 9 7 2 no try 17 7 3 ok 5 2 ok yes\n</think>\n\n",
    ]
    assert found.cuts == (1, 6, 15)


def test_every_token_has_the_worth_of_its_episode() -> None:
    found = asyncio.run(thought(FOUND))
    assert found.spread([1, 2, 3]) == (1,) * 6 + (2,) * 9 + (3,) * 2


def test_a_thought_that_was_cut_has_no_context_at_its_end() -> None:
    found = asyncio.run(thought(FOUND, tokens=8))
    assert found.cuts == (1, 6)
    assert found.spread([1, 2]) == (1,) * 6 + (2,) * 2
    assert asyncio.run(thought(FOUND, tokens=4)).cuts == (1,)


def test_a_reply_without_a_thinking_block_is_a_thought_that_is_not_closed() -> None:
    found = asyncio.run(thought("try 9 7 2 no try 17", closing="so"))
    assert [context.text for context in found.contexts] == ["so", "try 9 7 2 no so", "try 9 7 2 no try 17"]
    assert found.cuts == (0, 5, 7)


def test_tokens_of_a_real_tokenizer_are_cut_where_the_text_is(tmp_path: Path) -> None:
    """Its commas have no space before them, so that the text of a token depends on its neighbours."""
    words = tiny.tokenizer()
    tiny.save(
        tiny.model(1, words, width=32, layers=1, feed_forward=32), tmp_path, words, pack="tiny", temperature=1, card=""
    )
    text = "<think> try 8 + 5 = 13, 9 - 1 = 8 try 2 * 3 = 6, 6 + 6 = 12 </think> 12"
    ids = tuple(words.encode(text))

    async def cuts() -> Thought:
        engine = EmbeddedEngine(tmp_path)
        own = Play({POLICY: Model(engine, Pack.load("tiny"))}, Sampling(max_tokens=1), 0, 0)
        scripted = play([text])
        run = scripted.run(100)
        await scripted.drive(run, lambda run: run.generate(Prompt(text="x"), role="solve"))
        step = run.trace.steps[0]
        try:
            done = step.completion.model_copy(update={"token_ids": ids})
            return await Thought.read(step.model_copy(update={"completion": done}), ATTEMPTS, "", own)
        finally:
            await engine.aclose()

    found = asyncio.run(cuts())
    assert [words.decode(ids[:cut]) for cut in found.cuts] == [
        "<think>",
        "<think> try 8 + 5 = 13, 9 - 1 = 8",
        "<think> try 8 + 5 = 13, 9 - 1 = 8 try 2 * 3 = 6, 6 + 6 = 12",
    ]


def probed(contexts: Sequence[Draft], engine: Play, samples: int = 4) -> tuple[dict[str, Probe], Run]:
    run = engine.run(1000)

    async def body(run: Run) -> dict[str, Probe]:
        prompt = run.prompt("solve", engine.task(PROBLEM))
        return await probe(contexts, PROBLEM, prompt, run, samples=samples, tokens=2)

    return asyncio.run(engine.drive(run, body)) or {}, run


def test_success_is_the_share_of_forced_answers_that_are_right() -> None:
    def reply(prompt: Prompt, seed: int) -> str:
        return "17" if "yes" in prompt.prefix or seed % 2 else "4"

    contexts = asyncio.run(thought(FOUND)).contexts
    found, run = probed([*contexts, contexts[0]], play(reply))
    assert [found[context.text].success for context in contexts] == [0.5, 0.5, 1]
    assert {step.role for step in run.trace.steps} == {"probe"}
    assert len(run.trace.steps) == 12  # the context that is there twice was asked once


def test_a_context_without_room_for_an_answer_is_worth_nothing() -> None:
    contexts = asyncio.run(thought(FOUND)).contexts
    room = len(PROBLEM.question.split()) + 5
    found, _ = probed(contexts, play(["17"], context_length=room))
    assert [found[context.text].success for context in contexts] == [1, 0, 0]


def test_progress_adds_up_to_what_the_whole_thought_has_gained() -> None:
    gains = progress([0.25, 0.25, 0.75], 1)
    assert gains == [0, 0.5, 0.25]
    assert sum(gains) == 1 - 0.25


@pytest.mark.parametrize(
    ("reach", "wanted"), [(0, [0, 0.5, 0.25]), (0.5, [0.3125, 0.625, 0.25]), (1, [0.75, 0.75, 0.25])]
)
def test_the_reach_says_how_far_an_episode_is_paid_for_what_follows(reach: float, wanted: list[float]) -> None:
    assert returns([0, 0.5, 0.25], reach) == wanted
