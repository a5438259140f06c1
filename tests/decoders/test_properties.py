"""What holds for every decoder: budgets, cancellation, replay."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoders import build, registry
from decoders.base import Decoder
from decoders.core.errors import EngineError
from decoders.core.events import Answer, StepFinished
from decoders.core.messages import Prompt
from decoders.core.stream import events
from decoders.core.trace import Trace
from server.engines.scripted import ScriptedEngine
from tests.decoders.options import decoders
from tests.decoders.support import TASK, collect, decode, start


def reply(prompt: Prompt, seed: int) -> str:
    """Sometimes thinking, sometimes cut short, sometimes a verdict: different for every prompt and seed."""
    words = seed * 7 % 23
    thought = " ".join(["hm"] * words)
    return [f"<think>{thought}</think>answer {seed % 3}", f"<think>{thought}", "Verdict: correct", thought][seed % 4]


@settings(max_examples=150, deadline=None)
@given(decoder=decoders(), tokens=st.integers(1, 300), seed=st.integers(0, 2**31))
def test_spent_never_exceeds_the_budget_and_there_is_always_an_answer_event(
    decoder: Decoder, tokens: int, seed: int
) -> None:
    engine = ScriptedEngine(reply)
    run = start(engine, tokens, seed=seed)
    seen = decode(decoder, run)
    assert run.budget.spent <= tokens
    assert run.budget.reserved == 0
    assert engine.open_calls == 0
    assert isinstance(seen[-1], Answer)
    usage = run.trace.usage()
    assert usage.completion_tokens == run.budget.spent
    assert usage.completion_tokens == sum(e.tokens for e in seen if isinstance(e, StepFinished))


@settings(max_examples=60, deadline=None)
@given(decoder=decoders(), tokens=st.integers(1, 300), seed=st.integers(0, 2**31), after=st.integers(0, 30))
def test_closing_the_events_leaves_no_engine_stream_open(decoder: Decoder, tokens: int, seed: int, after: int) -> None:
    async def main() -> None:
        engine = ScriptedEngine(reply, token_delay=1e-5)
        run = start(engine, tokens, seed=seed)
        async with aclosing(events(decoder, TASK, run)) as stream:
            for _ in range(after):
                if await anext(stream, None) is None:
                    break
        assert engine.open_calls == 0
        assert run.budget.reserved == 0
        assert run.budget.spent <= tokens

    asyncio.run(main())


@settings(max_examples=100, deadline=None)
@given(decoder=decoders(), tokens=st.integers(1, 300), seed=st.integers(0, 2**31), keep=st.floats(0, 1))
def test_a_recorded_trace_replays_to_the_same_answer(decoder: Decoder, tokens: int, seed: int, keep: float) -> None:
    run = start(ScriptedEngine(reply), tokens, seed=seed)
    answer = decode(decoder, run)[-1]
    trace = Trace.model_validate_json(run.trace.model_dump_json())
    assert trace == run.trace

    silent = ScriptedEngine(reply)
    again = start(silent, tokens, seed=seed, recorded=trace.steps)
    assert decode(decoder, again)[-1] == answer
    assert silent.calls == 0

    engine = ScriptedEngine(reply)
    resumed = start(engine, tokens, seed=seed, recorded=trace.steps[: int(keep * len(trace.steps))])
    assert decode(decoder, resumed)[-1] == answer
    assert resumed.trace.usage() == run.trace.usage()


@settings(max_examples=60, deadline=None)
@given(decoder=decoders(), seed=st.integers(0, 2**31), fails=st.integers(0, 5))
def test_an_engine_that_breaks_is_a_typed_error_and_leaves_nothing_running(
    decoder: Decoder, seed: int, fails: int
) -> None:
    def broken(prompt: Prompt, number: int) -> str:
        if engine.calls > fails:
            raise ZeroDivisionError
        return reply(prompt, number)

    engine = ScriptedEngine(broken)
    run = start(engine, 300, seed=seed)
    try:
        outcome: object = decode(decoder, run)[-1]
    except EngineError as error:
        outcome = str(error)
    assert isinstance(outcome, Answer) or "ZeroDivisionError" in str(outcome)
    assert engine.open_calls == 0
    assert run.budget.reserved == 0


def test_many_runs_side_by_side_do_not_disturb_each_other() -> None:
    async def main() -> list[str]:
        engine = ScriptedEngine(reply, token_delay=1e-5)
        runs = [start(engine, 200, seed=i) for i in range(20)]
        ends = await asyncio.gather(*(collect(build("rc", {"turns": 3}), run) for run in runs))
        return [str(end[-1]) for end in ends]

    together = asyncio.run(main())
    alone = [str(decode(build("rc", {"turns": 3}), start(ScriptedEngine(reply), 200, seed=i))[-1]) for i in range(20)]
    assert together == alone


def test_a_runs_randomness_goes_on_and_repeats_with_its_seed() -> None:
    draws = [[start(ScriptedEngine(), seed=seed).rng for _ in range(2)] for seed in (1, 2)]
    (first, again), (other, _) = [[[rng.random() for _ in range(3)] for rng in pair] for pair in draws]
    assert first == again != other
    assert len(set(first)) == 3


def test_two_coroutines_on_one_scope_are_refused() -> None:
    async def main() -> None:
        run = start(ScriptedEngine(["a"], token_delay=0.001))
        prompt = run.prompt("solve", TASK)
        calls = [run.generate(prompt, role="solve", max_tokens=5) for _ in range(2)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(r).__name__ for r in results] == ["Completion", "RuntimeError"]

    asyncio.run(main())


@pytest.mark.parametrize("name", sorted(registry()))
def test_a_deadline_ends_a_call_in_the_middle(name: str) -> None:
    async def main() -> None:
        engine = ScriptedEngine(["word " * 10_000], token_delay=0.005)
        run = start(engine)
        run.budget.deadline = asyncio.get_running_loop().time() + 0.1
        seen = await collect(build(name, {}), run)
        answer = seen[-1]
        assert isinstance(answer, Answer)
        assert answer.finish == "length"
        assert answer.text.startswith("word")
        assert engine.open_calls == 0

    asyncio.run(main())
