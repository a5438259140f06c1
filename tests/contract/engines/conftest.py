"""Each engine is opened once for each checkpoint; pytest puts the tests of one engine together."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.model_options import SHIPPED
from tests.contract.engines.support import KINDS, Runner, Subject, network, opened
from tests.engines.support import save

os.environ["OMP_NUM_THREADS"] = "1"  # before torch or vLLM count cores: their threads hinder each other in tests
RANK = 4


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


@pytest.fixture(scope="session")
def adapter(bytes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter of the query projections, large enough to change what is said."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("adapter")
    weights = {}
    for name, module in network(bytes_folder).named_modules():
        if name.endswith("q_proj"):
            weights[f"base_model.model.{name}.lora_A.weight"] = torch.randn(RANK, module.in_features)
            weights[f"base_model.model.{name}.lora_B.weight"] = torch.randn(module.out_features, RANK)
    save_file(weights, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": ["q_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def able(run: Runner, bytes_folder: Path, adapter: Path) -> Iterator[Subject]:
    """Everything that vLLM can do beside: an adapter, a tool parser, priorities."""
    options = {"enable-lora": True, "max-lora-rank": "8", "lora-modules": f"poet={adapter}"}
    more = {"tool-call-parser": "hermes", "tool-strict-level": "parameter", "scheduling-policy": "priority"}
    with opened("vllm", bytes_folder, run, **options, **more) as subject:
        yield subject


@pytest.fixture(scope="session", params=["onnx", "vllm", "upstream-longthink"])
def split(request: pytest.FixtureRequest, run: Runner, bytes_folder: Path) -> Iterator[Subject]:
    """Characters that take several tokens."""
    if request.param == "vllm":
        yield request.getfixturevalue("able")
        return
    with opened(request.param, bytes_folder, run) as subject:
        yield subject


@pytest.fixture(params=["onnx", "torch", "vllm", "upstream-longthink"])
def mortal(request: pytest.FixtureRequest, run: Runner) -> Iterator[Subject]:
    """An engine that a test may kill."""
    with opened(request.param, SHIPPED, run) as subject:
        yield subject
