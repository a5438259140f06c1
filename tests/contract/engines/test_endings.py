"""Calls that are left, that do not fit, that run out of time, and engines that die."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

import pytest

from decoders.core.budget import Budget
from decoders.core.errors import ContextOverflow, EngineError, EngineUnavailable, InvalidRequest
from decoders.core.messages import Prompt, Sampling
from decoders.core.run import Run
from decoders.core.task import Model
from decoders.prompts import Pack
from tests.contract.engines.support import QUESTIONS, Runner, Subject, chat, collect, eventually

LONG = Sampling(1900, temperature=1.8, seed=1, n=8)
"""At this temperature the shipped checkpoint hardly ever ends by itself soon."""
FULL = "use 3 4 to make 7 " * 400


def test_closing_a_call_frees_it_at_once(tiny: Subject, run: Runner) -> None:
    async def leave() -> float:
        call = tiny.engine.generate(chat(QUESTIONS[0]), LONG)
        async for chunk in call:
            if chunk.size:
                break
        began = time.perf_counter()
        await call.aclose()
        return time.perf_counter() - began

    async def ask() -> None:
        # Sixteen completions of 1,900 tokens fill the engine; left, they must not be in the way of a short one.
        assert max(await asyncio.gather(leave(), leave())) < 0.1
        async with asyncio.timeout(5):
            (short,) = await collect(tiny.engine, chat(QUESTIONS[1]), Sampling(3, temperature=0))
        assert short.tokens == 3

    run(ask())
    if tiny.kind == "vllm":
        assert tiny.engine._core.llm.get_num_unfinished_requests() == 0  # type: ignore[attr-defined]


def test_a_cancelled_task_leaves_its_call(tiny: Subject, run: Runner) -> None:
    async def ask() -> None:
        task = asyncio.create_task(collect(tiny.engine, chat(QUESTIONS[0]), LONG))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (short,) = await collect(tiny.engine, chat(QUESTIONS[1]), Sampling(3, temperature=0))
        assert short.finish == "length"

    run(ask())


def test_a_prompt_without_room_is_a_typed_error(tiny: Subject, run: Runner) -> None:
    with pytest.raises(ContextOverflow) as caught:
        run(collect(tiny.engine, chat(FULL), Sampling(5)))
    assert caught.value.param == "messages"
    assert caught.value.code == "context_length_exceeded"


def test_a_completion_ends_with_the_context(tiny: Subject, run: Runner) -> None:
    tiny.needs("token_ids")
    prompt = Prompt(token_ids=(79, 82) * ((tiny.engine.context_length - 8) // 2))
    for result in run(collect(tiny.engine, prompt, Sampling(500, temperature=1.5, seed=3, n=2))):
        assert (result.finish, result.tokens) in {("length", 8), ("stop", result.tokens)}
        assert result.tokens <= 8


@pytest.mark.parametrize("field", [{"max_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}])
def test_impossible_sampling_is_the_callers_mistake(tiny: Subject, run: Runner, field: dict[str, float]) -> None:
    if tiny.kind.startswith("upstream"):
        pytest.skip("an upstream says it in its own way")
    with pytest.raises(InvalidRequest) as caught:
        run(collect(tiny.engine, chat("hi"), Sampling(**{"max_tokens": 5, **field})))  # type: ignore[arg-type]
    assert caught.value.param == next(iter(field))


def test_an_id_outside_the_vocabulary_is_refused(tiny: Subject, run: Runner) -> None:
    tiny.needs("token_ids")
    with pytest.raises(InvalidRequest):
        run(collect(tiny.engine, Prompt(token_ids=(5, 100_000)), Sampling(2)))
    assert run(collect(tiny.engine, Prompt(token_ids=(5,)), Sampling(2)))[0].tokens == 2


def test_a_deadline_keeps_what_was_said(tiny: Subject, run: Runner) -> None:
    async def ask() -> None:
        models = {tiny.engine.model: Model(tiny.engine, Pack.load("plain"))}
        budget = Budget(1900, deadline=time.monotonic() + 0.4)
        world = Run(models, tiny.engine.model, budget, sampling=Sampling(1900, temperature=1.8), seed=2)
        done = await world.generate(chat(QUESTIONS[0]), role="solve")
        assert done.finish == "length" or done.completion_tokens < 1900
        assert budget.spent == done.completion_tokens

    run(ask())


def test_death_is_told_to_everyone(mortal: Subject, run: Runner) -> None:
    engine = mortal.engine

    async def ask() -> None:
        assert await engine.ready()
        async with aclosing(engine.generate(chat(QUESTIONS[0]), LONG)) as call:
            assert (await anext(call)).size
            mortal.kill()
            with pytest.raises(EngineError):
                async for _ in call:
                    pass

        async def dead() -> bool:
            return not await engine.ready()

        await eventually(dead, 10)
        with pytest.raises(EngineUnavailable):
            await collect(engine, chat("hi"), Sampling(2))

    run(ask())


def test_more_prompts_than_fit_a_step_are_served(tiny: Subject, run: Runner) -> None:
    # vLLM 0.32 on a CPU dies of a seeded prompt that is computed in pieces; here there are more tokens than one step or
    # its cache takes.
    questions = [Prompt(text=f"use {i} 4 to make 7 " * 180) for i in range(1, 13)]

    async def ask() -> list[int]:
        sampling = Sampling(200, temperature=1.5, seed=4)
        results = await asyncio.gather(*(collect(tiny.engine, prompt, sampling) for prompt in questions))
        return [result.tokens for (result,) in results]

    tiny.needs("text")
    assert all(run(ask()))
    assert run(tiny.engine.ready())
