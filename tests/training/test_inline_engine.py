"""The engine over the live policy: the same tokens as serving, the same each time, and never those of old weights."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmarks.tasks import countdown
from decoders.core.errors import EngineError, EngineUnavailable
from decoders.core.messages import Message, Prompt, Sampling
from decoders.core.task import Model
from decoders.prompts import Pack
from server.engines.embedded.engine import EmbeddedEngine
from training.engines.inline import InlineEngine
from training.evaluate import evaluate
from training.play import POLICY, Play
from training.settings import SHIPPED, Evaluation


def asynchronous(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def live(folder: Path = SHIPPED) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def prompts(n: int) -> list[Prompt]:
    return [Prompt((Message("user", problem.question),)) for problem in countdown.problems("medium", "dev", n)]


async def complete(engine: EmbeddedEngine, asked: Sequence[Prompt], sampling: Sampling) -> list[tuple[int, ...]]:
    async def one(prompt: Prompt) -> tuple[int, ...]:
        return tuple([id async for chunk in engine.generate(prompt, sampling) for id in chunk.token_ids])

    return await asyncio.gather(*map(one, asked))


@asynchronous
async def test_greedy_tokens_are_those_of_serving() -> None:
    asked, sampling = prompts(6), Sampling(max_tokens=40, temperature=0.0)
    served = EmbeddedEngine(SHIPPED, threads=1)
    inline = InlineEngine(SHIPPED, live(), model=POLICY, slots=4)
    try:
        assert await complete(inline, asked, sampling) == await complete(served, asked, sampling)
    finally:
        await served.aclose()
        await inline.aclose()


async def evaluated(model: Any, slots: int = 16) -> dict[str, object]:
    engine = InlineEngine(SHIPPED, model, model=POLICY, slots=slots)
    models = {POLICY: Model(engine, Pack.load("tiny"))}
    wanted = Evaluation(name="rc", level="medium", problems=12, decoder={"name": "rc", "turns": 3})
    result = await evaluate(wanted, models, Sampling(max_tokens=1, temperature=0.8), 0)
    await engine.aclose()
    return {"right": result.right, "tokens": result.tokens}


@asynchronous
async def test_equal_runs_are_equal() -> None:
    model = live()
    assert await evaluated(model) == await evaluated(model)


@asynchronous
async def test_new_weights_are_used_at_once(small: Path) -> None:
    model = live(small)
    engine = InlineEngine(small, model, model=POLICY, slots=4)
    asked, sampling = prompts(2), Sampling(max_tokens=12, temperature=0.0)
    before = await complete(engine, asked, sampling)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(-1.5)
    await engine.renew()
    after = await complete(engine, asked, sampling)
    assert after != before
    fresh = InlineEngine(small, model, model=POLICY, slots=4)
    assert await complete(fresh, asked, sampling) == after


@asynchronous
async def test_weights_do_not_change_under_a_call(small: Path) -> None:
    engine = InlineEngine(small, live(small), model=POLICY, slots=2)
    await engine.start()
    call = asyncio.ensure_future(complete(engine, prompts(1), Sampling(max_tokens=2000, temperature=1.0, seed=1)))
    while not engine.running and not engine.waiting:  # noqa: ASYNC110  (an event would be one more way to be wrong)
        await asyncio.sleep(0)
    with pytest.raises(EngineError):
        await engine.renew()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


@asynchronous
async def test_a_closed_engine_says_so(small: Path) -> None:
    engine = InlineEngine(small, live(small), model=POLICY, slots=2)
    await engine.start()
    await engine.aclose()
    with pytest.raises(EngineUnavailable):
        await complete(engine, prompts(1), Sampling(max_tokens=3))


@asynchronous
async def test_rows_are_what_the_model_read_and_wrote(small: Path) -> None:
    """Prompt and completion, fed back as they are, give the log-probabilities that the sampler told."""
    model = live()
    engine = InlineEngine(SHIPPED, model, model=POLICY)
    play = Play({POLICY: Model(engine, Pack.load("tiny"))}, Sampling(max_tokens=1, logprobs=0), 0, 1)
    problem = countdown.problems("easy", "train", 1)[0]
    played = await play.decode(problem, play.decoder({"name": "rc", "turns": 2}), 400)
    steps = played.steps("reason", "summarise")
    assert [step.role for step in steps] == ["reason", "summarise", "reason"]
    for step in steps:
        row = await play.row(step, 1.0, None)
        ids = torch.tensor([row.prompt + row.completion])
        logits = model(input_ids=ids).logits[0, len(row.prompt) - 1 : -1].log_softmax(-1)
        own = logits[torch.arange(len(row.completion)), torch.tensor(row.completion)]
        assert row.logprobs is not None
        assert torch.allclose(own, torch.tensor(row.logprobs), atol=1e-4)
        assert (row.kind, row.policy) == (step.role, POLICY)
