"""A LoRA adapter laid upon the weights it was trained over: W ← W + (α / r) B A.

Not by PEFT's loader: it goes by `target_modules`, which SkyRL leaves empty, and passes over what it does not expect.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file

_A, _B = ".lora_A.weight", ".lora_B.weight"


@torch.no_grad()
def merge(model: Any, archive: bytes) -> None:
    """Change the weights of a transformers model. `ValueError` for an adapter that is no plain LoRA of its layers."""
    with TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
        (place,) = {path.parent for path in Path(folder).rglob("adapter_config.json")}
        config = json.loads((place / "adapter_config.json").read_text())
        tensors = load_file(place / "adapter_model.safetensors")
    if config.get("use_rslora") or config.get("use_dora") or config.get("rank_pattern") or config.get("alpha_pattern"):
        raise ValueError("only plain LoRA can be merged: no rsLoRA, DoRA or ranks of single layers")
    layers = dict(model.named_modules())
    for name in sorted(tensors):
        layer = layers.get(name.removeprefix("base_model.model.").rpartition(".lora_")[0])
        if layer is None or not name.endswith((_A, _B)):
            raise ValueError(f"the adapter has {name}, of which the model knows nothing")
        if name.endswith(_A):
            change = tensors[name.removesuffix(_A) + _B].float() @ tensors[name].float()
            layer.weight += (config["lora_alpha"] / config["r"] * change).to(layer.weight.dtype)
