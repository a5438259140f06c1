"""Random traffic, with calls that join, leave and share beginnings: every completion is what it is alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decoders.core.messages import Prompt, Sampling
from server.engines.embedded import EmbeddedEngine
from tests.engines.support import collect


@dataclass(frozen=True)
class Call:
    """When it comes, what it asks, and after how many tokens its reader leaves."""

    delay: int
    prompt: tuple[int, ...]
    tokens: int
    leaves: int | None


STEMS = [tuple(np.random.default_rng(i).integers(6, 120, 90).tolist()) for i in range(3)]
PROMPTS = st.builds(
    lambda stem, size, own: (*STEMS[stem][:size], *own),
    st.integers(0, 2),
    st.integers(1, 90),
    st.lists(st.integers(6, 120), max_size=40),
)
CALLS = st.builds(
    Call, st.integers(0, 20), PROMPTS, st.integers(1, 30), st.one_of(st.none(), st.none(), st.integers(0, 10))
)


@pytest.fixture(scope="module", params=["onnx", "torch"])
def pair(request: pytest.FixtureRequest, tiny_folder: Path) -> Iterator[tuple[EmbeddedEngine, EmbeddedEngine]]:
    """An engine with few slots and small prefill steps, and one that serves calls alone and reuses nothing."""
    busy = EmbeddedEngine(tiny_folder, backend=request.param, slots=4, threads=1, context_length=200)
    alone = EmbeddedEngine(tiny_folder, slots=1, threads=1, prefix_reuse=False, context_length=200)
    asyncio.run(busy.start())
    assert busy._scheduler is not None
    busy._scheduler._budget = 48
    yield busy, alone
    asyncio.run(busy.aclose())
    asyncio.run(alone.aclose())


async def run(engine: EmbeddedEngine, call: Call) -> list[int]:
    for _ in range(call.delay):
        await asyncio.sleep(0.0005)
    ids: list[int] = []
    stream = engine.generate(Prompt(token_ids=call.prompt), Sampling(call.tokens, temperature=0))
    async for chunk in stream:
        ids += chunk.token_ids
        if call.leaves is not None and len(ids) >= call.leaves:
            break
    await stream.aclose()
    return ids


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(calls=st.lists(CALLS, min_size=1, max_size=10))
def test_traffic_changes_no_token(calls: list[Call], pair: tuple[EmbeddedEngine, EmbeddedEngine]) -> None:
    busy, alone = pair

    async def all_calls() -> list[list[int]]:
        return await asyncio.gather(*(run(busy, call) for call in calls))

    for call, ids in zip(calls, asyncio.run(all_calls()), strict=True):
        (wanted,) = asyncio.run(collect(alone, list(call.prompt), Sampling(call.tokens, temperature=0)))
        assert ids == wanted.ids[: len(ids)]
        assert call.leaves is not None or ids == wanted.ids
