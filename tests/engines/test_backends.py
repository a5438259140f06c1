"""Both backends compute what transformers computes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoders.core.errors import EngineUnavailable
from decoders.core.messages import Sampling
from server.engines.embedded import EmbeddedEngine
from server.engines.embedded.backend import Backend, load
from server.engines.embedded.checkpoint import Checkpoint
from tests.engines.support import collect, save, serve

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
CHECKPOINTS: dict[str, dict[str, Any]] = {
    "qwen2": {},
    "qwen2-untied-bfloat16-shards": {"tie_word_embeddings": False, "dtype": "bfloat16", "shard": "60KB"},
    "qwen3-float16": {"dtype": "float16"},
    "llama-rope-biases": {"rope_parameters": LLAMA3, "attention_bias": True, "mlp_bias": True},
    "llama-linear": {"rope_parameters": {"rope_type": "linear", "rope_theta": 5000.0, "factor": 2.0}},
    "mistral-window": {"sliding_window": 200},
}


def backend(folder: Path, kind: Any, slots: int = 6) -> Backend:
    checkpoint = Checkpoint.read(folder)
    found, name = load(checkpoint, kind, "cpu", slots=slots, context=checkpoint.context(None), threads=1)
    assert name == kind or kind == "auto"
    return found


def reference(folder: Path, prompts: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    import torch
    from transformers import AutoModelForCausalLM

    net: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return [net(torch.tensor(prompt)[None]).logits[0, -1].numpy() for prompt in prompts]


@pytest.mark.parametrize("name", CHECKPOINTS)
@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_logits_equal_those_of_transformers(name: str, kind: str, tmp_path: Path) -> None:
    folder = save(tmp_path, name.split("-")[0], **CHECKPOINTS[name])
    draw = np.random.default_rng(0)
    prompts = [draw.integers(2, 320, n) for n in (3, 40, 17)]
    engine = backend(folder, kind)
    assert engine.capacity == (200 if "window" in name else 512)
    ids = np.zeros((3, 40), np.int64)
    for row, prompt in zip(ids, prompts, strict=True):
        row[: len(prompt)] = prompt
    none = np.zeros(3, np.int64)
    sizes = np.array([len(prompt) for prompt in prompts])
    fresh = engine.forward(1, ids, none, sizes).copy()
    for row, wanted in zip(fresh, reference(folder, prompts), strict=True):
        np.testing.assert_allclose(row, wanted, atol=1e-4)
    # The same rows go on after being moved: one token each in a batch, then several in one row.
    engine.swap(1, 2, 40)
    engine.copy(3, 0, 17)
    order = [prompts[2], prompts[1], prompts[0]]
    more = draw.integers(2, 320, (3, 1))
    longer = [np.concatenate([prompt, extra]) for prompt, extra in zip(order, more, strict=True)]
    decoded = engine.forward(0, more, sizes[::-1].copy(), np.ones(3, np.int64)).copy()
    for row, wanted in zip(decoded, reference(folder, longer), strict=True):
        np.testing.assert_allclose(row, wanted, atol=1e-4)
    tail = draw.integers(2, 320, 9)
    continued = engine.forward(1, tail[None], np.array([41]), np.array([9]))
    np.testing.assert_allclose(continued[0], reference(folder, [np.concatenate([longer[1], tail])])[0], atol=1e-4)


@pytest.mark.parametrize("change", [{"rope_type": "yarn", "factor": 2.0}, {"hidden_act": "gelu"}, "gpt2"])
def test_the_exporter_refuses_what_it_does_not_know(change: Any, tmp_path: Path) -> None:
    folder = save(tmp_path, "qwen2")
    config = json.loads((folder / "config.json").read_text())
    if change == "gpt2":
        config["architectures"] = ["GPT2LMHeadModel"]
    elif "rope_type" in change:
        config["rope_parameters"] = {**change, "rope_theta": 1e4, "original_max_position_embeddings": 256}
    else:
        config |= change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(EngineUnavailable, match="cannot be exported"):
        backend(folder, "onnx")
    assert load(Checkpoint.read(folder), "auto", "cpu", slots=2, context=64, threads=1)[1] == "torch"


def test_torch_serves_an_architecture_without_exporter(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    folder = save(tmp_path, "gpt_neox", num_attention_heads=3)
    prompt = list(range(20, 40))
    found = serve(folder, lambda engine: collect(engine, prompt, Sampling(12, temperature=0)))[0]
    net: Any = AutoModelForCausalLM.from_pretrained(folder)
    wanted = net.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False)[0, len(prompt) :]
    assert found.ids == wanted.tolist()


def test_a_folder_without_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"config\.json"):
        EmbeddedEngine(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(EngineUnavailable, match=r"tokenizer\.json"):
        asyncio.run(EmbeddedEngine(tmp_path).start())


def test_what_the_folder_says_is_known_before_start(tiny_folder: Path) -> None:
    engine = EmbeddedEngine(tiny_folder)
    assert (engine.pack, dict(engine.defaults), engine.context_length) == ("tiny", {"temperature": 0.7}, 2048)
    assert EmbeddedEngine(tiny_folder, model="other", context_length=100).context_length == 100
