"""The engine keeps its promises: the same tokens as transformers, alone or among others, and prompt ends."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoders.core.errors import ContextOverflow, EngineError, EngineUnavailable, InvalidRequest
from decoders.core.messages import Message, Prompt, Sampling
from server.engines.embedded import EmbeddedEngine
from tests.engines.support import collect, serve

GREEDY = Sampling(24, temperature=0)


def prompts(*sizes: int, seed: int = 0) -> list[list[int]]:
    draw = np.random.default_rng(seed)
    return [draw.integers(6, 120, size).tolist() for size in sizes]


def generated(folder: Path, prompt: list[int], new: int = 24) -> list[int]:
    import torch
    from transformers import AutoModelForCausalLM

    net: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([prompt])
    out = net.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False)
    found: list[int] = out[0, len(prompt) :].tolist()
    return found


@pytest.mark.parametrize("which", ["tiny_folder", "unicode_folder"])
@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_greedy_tokens_equal_those_of_transformers(which: str, backend: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(which)
    many = prompts(5, 64, 33, 100, 1, 700 if which == "tiny_folder" else 300)

    async def use(engine: EmbeddedEngine) -> Any:
        assert not await engine.ready()
        await engine.start()
        assert await engine.ready()
        return await asyncio.gather(*(collect(engine, p, GREEDY) for p in many))

    found = serve(folder, use, backend=backend, slots=4)
    for prompt, (result,) in zip(many, found, strict=True):
        assert result.ids == generated(folder, prompt)
        assert result.prompt_tokens == len(prompt)
        assert result.finish == ("stop" if len(result.ids) < 24 else "length")


def test_text_is_the_decoded_completion(unicode_folder: Path) -> None:
    async def use(engine: EmbeddedEngine) -> None:
        results = await collect(engine, prompts(9)[0], Sampling(60, temperature=1.5, seed=3, n=8))
        assert engine._words is not None
        for result in results:
            assert result.text == engine._words.decode(result.ids)
            assert len(result.ids) == 60 or result.ids[-1] == 1

    serve(unicode_folder, use)


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_reused_prefixes_change_nothing(tiny_folder: Path, backend: str) -> None:
    first, second, third = prompts(200, 40, 60)

    async def use(engine: EmbeddedEngine) -> list[tuple[list[int], int]]:
        (one,) = await collect(engine, first, GREEDY)
        continued = first + one.ids + second
        (two,) = await collect(engine, continued, GREEDY)
        copies = await asyncio.gather(*(collect(engine, first + third[:i], GREEDY) for i in (60, 50, 0, 1)))
        found = [(r.ids, r.cached) for r in (one, two, *(c[0] for c in copies))]
        assert found[0][1] == 0
        return found

    reused = serve(tiny_folder, use, backend=backend, slots=5)
    fresh = serve(tiny_folder, use, backend=backend, slots=5, prefix_reuse=False)
    assert [ids for ids, _ in reused] == [ids for ids, _ in fresh]
    assert [cached for _, cached in fresh] == [0] * 6
    # The last token of a completion has not been through the model.
    assert [cached for _, cached in reused] == [0, 223, 200, 249, 199, 200]


def test_simultaneous_prompts_share_their_beginning(tiny_folder: Path) -> None:
    shared, *own = prompts(300, *[16] * 8)

    async def use(engine: EmbeddedEngine) -> list[Any]:
        return await asyncio.gather(*(collect(engine, shared + tail, GREEDY) for tail in own))

    found = serve(tiny_folder, use)
    assert sorted(r.cached for (r,) in found) == [0] + [300] * 7
    plain = serve(tiny_folder, use, prefix_reuse=False)
    assert [r.ids for (r,) in found] == [r.ids for (r,) in plain]


def test_n_completions_prefill_once_and_count_their_seed(tiny_folder: Path) -> None:
    (prompt,) = prompts(50)

    async def use(engine: EmbeddedEngine) -> None:
        many = await collect(engine, prompt, Sampling(16, seed=10, n=5))
        assert [r.cached for r in many] == [0, 49, 49, 49, 49]
        for i, result in enumerate(many):
            (alone,) = await collect(engine, prompt, Sampling(16, seed=10 + i))
            assert alone.ids == result.ids
        assert len({tuple(r.ids) for r in many}) == 5

    serve(tiny_folder, use, slots=3)


def test_a_seed_gives_the_same_tokens_under_load(tiny_folder: Path) -> None:
    many = prompts(*range(20, 50, 3))
    samplings = [Sampling(20, seed=i, top_p=0.9 if i % 2 else 1.0, top_k=i % 3 * 10) for i in range(len(many))]

    async def use(engine: EmbeddedEngine) -> None:
        together = await asyncio.gather(*map(collect, [engine] * len(many), many, samplings))
        for prompt, sampling, (result,) in zip(many, samplings, together, strict=True):
            (alone,) = await collect(engine, prompt, sampling)
            assert alone.ids == result.ids
        free = await collect(engine, many[0], Sampling(20, n=2))
        assert free[0].ids != free[1].ids

    serve(tiny_folder, use)


def test_stop_strings_end_before_themselves(tiny_folder: Path) -> None:
    (prompt,) = prompts(12)

    async def use(engine: EmbeddedEngine) -> None:
        (whole,) = await collect(engine, prompt, Sampling(40, seed=1))
        place = len(whole.text) // 2
        stop = whole.text[place : place + 9]
        assert stop.strip().count(" ") >= 1, "the stop string must span tokens"
        (cut,) = await collect(engine, prompt, Sampling(40, seed=1, stop=("never", stop)))
        assert cut.text == whole.text[: whole.text.find(stop)]
        assert cut.finish == "stop"
        assert cut.ids == whole.ids[: len(cut.ids)]
        assert all(stop[:1] not in c.text[-1:] or c.finish for c in cut.chunks)
        (same,) = await collect(engine, prompt, Sampling(40, seed=1, stop=("never",)))
        assert same.text == whole.text

    serve(tiny_folder, use)


def test_logprobs_are_those_of_the_model(tiny_folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    (prompt,) = prompts(30)
    sampling = Sampling(10, seed=4, temperature=0.6, logprobs=3)
    (result,) = serve(tiny_folder, lambda engine: collect(engine, prompt, sampling))
    net: Any = AutoModelForCausalLM.from_pretrained(tiny_folder)
    with torch.no_grad():
        table = net(torch.tensor([prompt + result.ids])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    details = [detail for chunk in result.chunks for detail in chunk.logprobs]
    assert [detail.id for detail in details] == result.ids
    for row, detail in zip(table, details, strict=True):
        assert detail.logprob == pytest.approx(row[detail.id].item(), abs=1e-3)
        assert [id for id, _, _ in detail.top] == row.topk(3).indices.tolist()
        assert [value for _, _, value in detail.top] == pytest.approx(row.topk(3).values.tolist(), abs=1e-3)


def test_a_prefix_is_continued_and_not_repeated(tiny_folder: Path) -> None:
    chat = (Message("user", "use 3 4 to make 7"),)

    async def use(engine: EmbeddedEngine) -> None:
        assert engine._words is None
        size = await engine.count(Prompt(chat, prefix="3 +"))
        assert size == await engine.count(Prompt(chat)) + 2
        assert engine._words is not None
        ids = engine._words.encode(Prompt(chat, prefix="3 +")).ids
        (one,), (two,) = [await collect(engine, p, GREEDY) for p in (Prompt(chat, prefix="3 +"), list(ids))]
        assert one.ids == two.ids
        # text joins the prefix with the space that the whole reply has there
        before = engine._words.words.encode("3 +", add_special_tokens=False).ids
        assert "3 +" + one.text == engine._words.decode([*before, *one.ids])
        assert one.prompt_tokens == size

    serve(tiny_folder, use)


def test_the_end_mark_is_counted_but_has_no_text(tiny_folder: Path) -> None:
    (prompt,) = prompts(8)

    async def use(engine: EmbeddedEngine) -> None:
        (whole,) = await collect(engine, prompt, GREEDY)
        engine._eos = frozenset([whole.ids[5]])
        (short,) = await collect(engine, prompt, GREEDY)
        assert short.ids == whole.ids[: whole.ids.index(whole.ids[5]) + 1]
        assert short.finish == "stop"
        assert short.chunks[-1].text == ""

    serve(tiny_folder, use)


def test_the_context_is_kept(tiny_folder: Path) -> None:
    long, full = prompts(90, 100)

    async def use(engine: EmbeddedEngine) -> None:
        (result,) = await collect(engine, long, Sampling(500, temperature=0))
        assert (len(result.ids), result.finish) == (10, "length")
        with pytest.raises(ContextOverflow, match=r"100 prompt tokens.*500.*context of 100") as caught:
            await collect(engine, full, Sampling(500))
        assert caught.value.param == "messages"

    serve(tiny_folder, use, context_length=100)


@pytest.mark.parametrize("field", [{"max_tokens": 0}, {"n": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"min_p": 2.0}])
def test_impossible_sampling_is_the_callers_mistake(tiny_folder: Path, field: dict[str, Any]) -> None:
    sampling = Sampling(**{"max_tokens": 5, **field})
    with pytest.raises(InvalidRequest) as caught:
        serve(tiny_folder, lambda engine: collect(engine, [5], sampling))
    assert caught.value.param == next(iter(field))


def test_closing_a_call_frees_its_slots_at_once(tiny_folder: Path) -> None:
    one, two = prompts(20, 30)

    async def use(engine: EmbeddedEngine) -> None:
        other = asyncio.create_task(collect(engine, two, Sampling(300, temperature=0)))
        call = engine.generate(Prompt(token_ids=tuple(one)), Sampling(1900, seed=1, n=4))
        async for _ in call:
            if engine.running == 2:
                break
        await call.aclose()
        closed = time.perf_counter()
        while engine.running + engine.waiting > 1:  # noqa: ASYNC110 - the engine's thread changes it
            await asyncio.sleep(0.001)
        assert time.perf_counter() - closed < 0.1
        (result,) = await other
        (alone,) = await collect(engine, two, Sampling(300, temperature=0))
        assert result.ids == alone.ids
        assert engine.running == 0

    serve(tiny_folder, use, slots=2)


def test_calls_wait_for_a_slot_in_order(tiny_folder: Path) -> None:
    many = prompts(*[20] * 6)
    ended: list[int] = []

    async def use(engine: EmbeddedEngine) -> None:
        async def one(i: int) -> None:
            await collect(engine, many[i], GREEDY)
            ended.append(i)

        await engine.start()  # six calls that load it each in a thread come back in any order
        await asyncio.gather(*map(one, range(6)))

    serve(tiny_folder, use, slots=1)
    assert ended == list(range(6))


def test_closing_the_engine_ends_what_runs(tiny_folder: Path) -> None:
    async def use(engine: EmbeddedEngine) -> None:
        running = [asyncio.create_task(collect(engine, p, Sampling(1500, seed=0))) for p in prompts(9, 9, 9)]
        while not engine.running:  # noqa: ASYNC110 - the engine's thread changes it
            await asyncio.sleep(0.001)
        await engine.aclose()
        for result in await asyncio.gather(*running, return_exceptions=True):
            assert isinstance(result, EngineUnavailable)
        assert not await engine.ready()
        with pytest.raises(EngineUnavailable):
            await collect(engine, [5], GREEDY)

    serve(tiny_folder, use, slots=2)


class Failing:
    """A backend that breaks after some calls."""

    def __init__(self, inner: Any, after: int) -> None:
        self._inner, self._left = inner, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def forward(self, *arguments: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise RuntimeError("out of memory")
        return self._inner.forward(*arguments)


def test_a_dead_thread_is_told_to_everyone(tiny_folder: Path) -> None:
    async def use(engine: EmbeddedEngine) -> None:
        await engine.start()
        assert engine._scheduler is not None
        calls = [asyncio.create_task(collect(engine, p, Sampling(1500, seed=0))) for p in prompts(9, 12, 15)]
        while engine.running < 2 or engine.waiting < 1:  # noqa: ASYNC110 - the engine's thread changes it
            await asyncio.sleep(0.001)
        engine._scheduler._backend = Failing(engine._scheduler._backend, 5)
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all("out of memory" in str(result) for result in results)
        # The third call had no slot yet, so nothing of it was generated.
        assert [type(result) for result in results] == [EngineError, EngineError, EngineUnavailable]
        assert not await engine.ready()
        with pytest.raises(EngineUnavailable, match="out of memory"):
            await collect(engine, [5], GREEDY)

    serve(tiny_folder, use, slots=2)


def test_one_engine_serves_several_event_loops(tiny_folder: Path) -> None:
    engine = EmbeddedEngine(tiny_folder, threads=1)
    found = [asyncio.run(collect(engine, [7, 8, 9], GREEDY))[0].ids for _ in range(2)]
    asyncio.run(engine.aclose())
    assert found[0] == found[1]
