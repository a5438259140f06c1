"""The Tinker API: rows in its terms, adapters merged, and a whole run where a service is."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save
from transformers import AutoModelForCausalLM

from tests.training.uneven import Uneven
from training.adapters import merge
from training.engines.tinker import Options, data, datum, refuse
from training.recipes.grpo import Config
from training.reinforce import reinforce
from training.rows import Row
from training.settings import SHIPPED, Loss

pytest.importorskip("tinker", reason="the Tinker SDK is not installed: pip install 'longthink[tinker]'")
SERVICE = os.environ.get("TINKER_URL")

LONG = Row((5, 6, 7), (8, 9, 10, 3), 2.0, logprobs=(-0.5, -1.0, -1.5, -0.25))
MASKED = Row((5, 6), (8, 9, 3), (1.0, -1.0, 0.5), (1, 0, 1), (-0.5, 0.0, -2.0))


def values(made: Any, name: str) -> list[float]:
    found: list[float] = made.loss_fn_inputs[name].data
    return found


def test_a_row_tells_at_each_place_what_comes_next_and_what_it_is_worth() -> None:
    made = datum(LONG, 0.5, weighted=True)
    assert made.model_input.to_ints() == [5, 6, 7, 8, 9, 10]
    assert values(made, "target_tokens") == [6, 7, 8, 9, 10, 3]
    assert values(made, "advantages") == [0, 0, 1, 1, 1, 1]
    assert values(made, "weights") == [0, 0, 1, 1, 1, 1]
    assert values(made, "logprobs") == [0, 0, -0.5, -1.0, -1.5, -0.25]


def test_what_is_masked_is_worth_nothing() -> None:
    made = datum(MASKED, 1.0, weighted=False)
    assert values(made, "advantages") == [0, 1.0, 0, 0.5]
    assert "weights" not in made.loss_fn_inputs


def test_a_row_without_the_samplers_probabilities_is_refused() -> None:
    with pytest.raises(ValueError, match="log-probabilities"):
        datum(replace(LONG, logprobs=None), 1.0, weighted=False)


def reduced(batch: Sequence[Any], reduction: str) -> float:
    """What a service makes of the batch where the policy has not moved: each trained token's loss is -A."""
    if reduction == "sum":
        return -sum(sum(values(each, "advantages")) for each in batch)
    means = [sum(values(each, "advantages")) / sum(values(each, "weights")) for each in batch]
    return -sum(means) / len(means)


@pytest.mark.parametrize("reduction", ["sum", "sequence"])
@pytest.mark.parametrize(
    ("mean", "loss"),
    [("token", -(8 + 1.5) / 6), ("sequence", -(2 + 0.75) / 2), ("constant", -(8 + 1.5) / (2 * 10))],
)
def test_the_loss_is_the_mean_that_was_chosen_whatever_the_service_does(mean: Any, loss: float, reduction: Any) -> None:
    batch = data([LONG, MASKED], Loss(mean=mean), Options(reduction=reduction), max_length=10)
    assert reduced(batch, reduction) == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("change", [{"temperature": 0.6}, {"loss": {"kl": 0.01}}, {"loss": {"entropy": 0.1}}])
def test_what_the_api_cannot_do_is_refused_by_name(change: dict[str, Any]) -> None:
    name = next(iter(change))
    with pytest.raises(ValueError, match=name):
        refuse(Config.model_validate(change))
    refuse(Config())


def archive(tensors: dict[str, torch.Tensor], **config: Any) -> bytes:
    """An adapter as services send it; `target_modules` is empty, as SkyRL leaves it."""
    files = {
        "adapter_config.json": json.dumps({"r": 2, "lora_alpha": 8, "target_modules": None, **config}).encode(),
        "adapter_model.safetensors": save(tensors),
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"adapter/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def lora(layer: str) -> dict[str, torch.Tensor]:
    name = f"base_model.model.{layer}"
    return {f"{name}.lora_A.weight": torch.randn(2, 128), f"{name}.lora_B.weight": torch.randn(384, 2)}


def test_an_adapter_is_laid_upon_every_layer_that_it_names() -> None:
    model = AutoModelForCausalLM.from_pretrained(SHIPPED, dtype=torch.float32)
    layers = ["model.layers.0.mlp.gate_proj", "model.layers.2.mlp.up_proj"]
    tensors = lora(layers[0]) | lora(layers[1])
    merge(model, archive(tensors))
    before = load_file(SHIPPED / "model.safetensors")
    for name, weight in model.named_parameters():
        layer = name.removesuffix(".weight")
        change = torch.zeros_like(weight)
        if layer in layers:
            down, up = (tensors[f"base_model.model.{layer}.lora_{part}.weight"] for part in "AB")
            change = 4 * up @ down
        torch.testing.assert_close(weight - before[name], change)


def test_an_adapter_of_something_else_is_refused() -> None:
    model = AutoModelForCausalLM.from_pretrained(SHIPPED, dtype=torch.float32)
    with pytest.raises(ValueError, match="knows nothing"):
        merge(model, archive(lora("model.layers.7.mlp.gate_proj")))
    with pytest.raises(ValueError, match="plain LoRA"):
        merge(model, archive(lora("model.layers.0.mlp.gate_proj"), use_rslora=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not SERVICE, reason="no Tinker service: docs/training.md says how to start SkyRL on a CPU")
def test_a_run_goes_on_where_it_ended_and_leaves_a_model(tmp_path: Path) -> None:
    options = {"url": SERVICE, "api_key": "tml-none", "reduction": "sequence"}
    wanted = {"output": tmp_path, "engine": "tinker", "engine_options": options, "learning_rate": 1e-2, "warmup": 0}
    wanted |= {"batch": 2, "group": 4, "max_tokens": 48, "save_every": 1}
    for steps in (1, 2):
        reinforce(Uneven, Config.model_validate({**wanted, "steps": steps, "loss": {"mean": "sequence"}}))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    before, after = (load_file(folder / "model.safetensors") for folder in (SHIPPED, tmp_path))
    assert any(not torch.equal(before[name], after[name]) for name in before)
