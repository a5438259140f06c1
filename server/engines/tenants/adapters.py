"""A folder of LoRA adapters, one for each tenant, as PEFT writes them: tenants that share nothing but the base.

A tenant is deleted with its folder. Rule: W + (α / r) B A is read from plain LoRA of linear layers; else it is refused.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from decoders.core.errors import UnknownModel
from server.engines.tenants.sums import Floats
from server.engines.tenants.terms import Tensors

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_HEAD, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
_OTHERS = ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern")


def write(folder: Path, parts: Mapping[str, tuple[Floats, Floats]], *, rank: int, alpha: float, base: str) -> None:
    """An adapter of A and B by the name of the weight, as PEFT and vLLM read it."""
    folder.mkdir(parents=True)
    layers = {name.removesuffix(".weight"): part for name, part in parts.items()}
    tensors = {f"{_HEAD}{name}{_A}": a for name, (a, _) in layers.items()}
    tensors |= {f"{_HEAD}{name}{_B}": b for name, (_, b) in layers.items()}
    save_file(tensors, folder / WEIGHTS)
    modules = sorted({name.rpartition(".")[2] for name in layers})
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": alpha, "target_modules": modules}
    (folder / CONFIG).write_text(json.dumps({**config, "base_model_name_or_path": base, "bias": "none"}, indent=1))


class Adapters:
    """`FOLDER/TENANT/adapter_config.json`; what is put into the folder or taken out of it is noticed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._found = self._look()
        self.departed: frozenset[str] = frozenset()
        """Labels of tenants that were there once, since this was made."""

    @property
    def version(self) -> str:
        """Changes with every adapter that comes or goes."""
        return hashlib.sha256(repr(sorted(self._found.items())).encode()).hexdigest()

    def names(self) -> list[str]:
        """The tenants."""
        return sorted(self._found)

    def label(self, tenant: str) -> str:
        """A name of this tenant that nobody else has, nor itself when it is added once more."""
        return _label(tenant, self._stamp(tenant))

    def refresh(self) -> bool:
        """Whether the folder has changed since it was looked at."""
        before, self._found = self._found, self._look()
        self.departed |= {_label(*one) for one in before.items() - self._found.items()}
        return before != self._found

    def check(self, base: Tensors) -> None:
        """An adapter does not tell the weights it was trained from."""

    def weights(self, tenant: str, base: Tensors) -> dict[str, Floats]:
        """The tensors of a tenant's model that are not the base's. Raises `UnknownModel`, or `ValueError`."""
        found = self.parts(tenant, {name: tensor.shape for name, tensor in base.items()})
        return {name: base[name] + (b @ a).astype(np.float32) for name, (a, b) in found.items()}

    def parts(self, tenant: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[Floats, Floats]]:
        """A and (α / r) B by the name of the weight, for weights of these shapes. Raises as `weights`."""
        self._stamp(tenant)
        try:
            config = json.loads((self.folder / tenant / CONFIG).read_text("utf-8"))
            tensors, scale = load_file(self.folder / tenant / WEIGHTS), config["lora_alpha"] / config["r"]
            pairs = [(name, tensors[name.removesuffix(_A) + _B]) for name in tensors if name.endswith(_A)]
        except (KeyError, SafetensorError) as error:
            raise ValueError(f"the adapter of {tenant} cannot be read: {error!r}") from error
        if wrong := [name for name in _OTHERS if config.get(name)]:
            raise ValueError(f"the adapter of {tenant} is no plain LoRA: {', '.join(wrong)}")
        made = {}
        for name, b in pairs:
            weight = name.removeprefix(_HEAD).removesuffix(_A) + ".weight"
            if shapes.get(weight) != (len(b), tensors[name].shape[1]):
                raise ValueError(f"the adapter of {tenant} does not fit this model at {weight}")
            made[weight] = tensors[name].astype(np.float32), np.float32(scale) * b.astype(np.float32)
        return made

    def delete(self, tenant: str) -> None:
        """Remove a tenant's adapter. Raises `UnknownModel`."""
        self._stamp(tenant)
        shutil.rmtree(self.folder / tenant)
        self.refresh()

    def _stamp(self, tenant: str) -> int:
        if tenant not in self._found:
            raise UnknownModel(f"there is no tenant {tenant!r}", param="model")
        return self._found[tenant]

    def _look(self) -> dict[str, int]:
        return {path.parent.name: path.stat().st_mtime_ns for path in self.folder.glob(f"*/{CONFIG}")}


def _label(tenant: str, stamp: int) -> str:
    return f"{tenant}/{stamp:x}"
