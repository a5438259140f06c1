"""What the trainer says to servers that are none of vLLM's, or none at all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError

from decoders.core.errors import EngineUnavailable
from decoders.core.messages import Prompt, Sampling
from tests.server.conftest import serving
from training.engines.vllm_server import Options, ServerPolicy
from training.settings import SHIPPED


def policy(url: str) -> ServerPolicy:
    net: Any = None  # no weights are asked for before a server is found right
    return ServerPolicy(SHIPPED, net, model="policy", options=Options(servers=(url,)))


async def renewed(engine: ServerPolicy) -> None:
    try:
        await engine.renew()
    finally:
        await engine.aclose()


def test_a_server_without_its_development_mode_is_refused() -> None:
    with serving() as live, pytest.raises(ValueError, match="VLLM_SERVER_DEV_MODE=1"):
        asyncio.run(renewed(policy(f"http://127.0.0.1:{live.port}")))


def test_a_server_that_does_not_answer_is_unavailable() -> None:
    with pytest.raises(EngineUnavailable, match=r"127\.0\.0\.1:9"):
        asyncio.run(renewed(policy("http://127.0.0.1:9")))


def test_nothing_is_sampled_before_the_first_renewal() -> None:
    async def ask() -> None:
        engine = policy("http://127.0.0.1:9")
        try:
            assert not await engine.ready()
            async for _ in engine.generate(Prompt(text="use"), Sampling(1)):
                pass
        finally:
            await engine.aclose()

    with pytest.raises(EngineUnavailable, match="renew"):
        asyncio.run(ask())


def test_options_need_a_server_and_know_no_other_names() -> None:
    with pytest.raises(ValidationError, match="servers"):
        Options.model_validate({"servers": []})
    with pytest.raises(ValidationError, match="extra"):
        Options.model_validate({"servers": ["http://x:1"], "transport": "file"})
