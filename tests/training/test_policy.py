"""Policies with adapters: what is written is what was trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from training.engines.weights import gathered
from training.policy import load
from training.recipes.grpo import Config


def test_merged_weights_compute_what_the_adapters_compute(small: Path, tmp_path: Path) -> None:
    model = load(Config(model=small, output=tmp_path, rank=3))
    ids = torch.arange(12)[None]
    with torch.no_grad():
        start = model(ids).logits
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(len(name)))
        trained = model(ids).logits
        plain = AutoModelForCausalLM.from_pretrained(small, dtype=torch.float32)
        assert torch.equal(plain(ids).logits, start)
        plain.load_state_dict(gathered(model), strict=False)  # tied weights are there once
        assert torch.allclose(plain(ids).logits, trained, atol=1e-4)
    assert not torch.allclose(start, trained, atol=1e-2)


def test_a_rank_below_zero_is_refused(small: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rank"):
        Config(model=small, output=tmp_path, rank=-1)
