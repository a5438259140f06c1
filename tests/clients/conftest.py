"""Servers for clients to talk to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clients import LongThink
from decoders.core.messages import Prompt
from server.engines.scripted import ScriptedEngine
from tests.server.conftest import Live, logging_stays, serving

__all__ = ["logging_stays"]


def speak(prompt: Prompt, seed: int) -> str:
    """Judges accept; everything else thinks and answers 42 or, less often, 41."""
    if "Verdict:" in prompt.messages[-1].content:
        return "Verdict: correct"
    return f"<think>{'one two three ' * 5}</think>it is \\boxed{{{42 if seed % 3 else 41}}}"


@pytest.fixture(scope="module")
def speaking() -> Iterator[Live]:
    with serving(base=ScriptedEngine(speak, model="base", token_delay=0.0005)) as running:
        yield running


@pytest.fixture(scope="module")
def client(speaking: Live) -> Iterator[LongThink]:
    with LongThink(base_url=f"{speaking.url}/v1", max_retries=0) as made:
        yield made
