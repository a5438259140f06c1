"""Each engine is opened once for each checkpoint; pytest puts the tests of one engine together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.settings import SHIPPED
from tests.contract.engines.support import KINDS, Runner, Subject, opened
from tests.engines.support import save

os.environ["OMP_NUM_THREADS"] = "1"  # before torch or vLLM count cores: their threads hinder each other in tests


@pytest.fixture(scope="session")
def run() -> Iterator[Runner]:
    """One event loop for all: vLLM stays with the loop it was started in."""
    with asyncio.Runner() as runner:
        yield runner.run  # type: ignore[misc]


@pytest.fixture(scope="session", params=KINDS)
def tiny(request: pytest.FixtureRequest, run: Runner) -> Iterator[Subject]:
    """The shipped checkpoint."""
    with opened(request.param, SHIPPED, run) as subject:
        yield subject


@pytest.fixture(scope="session")
def bytes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Qwen3 with a byte-level tokenizer: random weights produce broken and split characters all the time."""
    return save(tmp_path_factory.mktemp("bytes"), "qwen3", head_dim=32)  # vLLM has no smaller heads on CPUs


@pytest.fixture(scope="session", params=["onnx", "vllm", "upstream-longthink"])
def split(request: pytest.FixtureRequest, run: Runner, bytes_folder: Path) -> Iterator[Subject]:
    """Characters that take several tokens."""
    with opened(request.param, bytes_folder, run) as subject:
        yield subject


@pytest.fixture(params=["onnx", "torch", "vllm", "upstream-longthink"])
def mortal(request: pytest.FixtureRequest, run: Runner) -> Iterator[Subject]:
    """An engine that a test may kill."""
    with opened(request.param, SHIPPED, run) as subject:
        yield subject
