"""The model of a policy: a checkpoint's weights, or with `rank` LoRA adapters over them, which then stay as they are.

W' = W + (α / r) B A, B = 0 at the start (arXiv 2106.09685). Rule: the frozen weights of several policies are one copy.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from transformers import AutoModelForCausalLM

from training.settings import Reinforcement

ALPHA = 32
"""Of all adapters; with it the best learning rate hardly depends on the rank."""
FROZEN, ADAPTED = ".base_layer", ".lora_"
"""What PEFT puts into the names of a layer's own weights and of its adapter's."""


def load(config: Reinforcement, beside: Any = None) -> Any:
    """A transformers model to train; with adapters it shares the weights of `beside`, another policy of the run."""
    model: Any = AutoModelForCausalLM.from_pretrained(config.model, dtype=torch.float32)
    if not config.rank:
        return model
    options = LoraConfig(r=config.rank, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
    inject_adapter_in_model(options, model)
    shared = {} if beside is None else dict(beside.named_parameters())
    for name, parameter in model.named_parameters():
        parameter.requires_grad = ADAPTED in name
        if name in shared and not parameter.requires_grad:
            parameter.data = shared[name].data
    return model
