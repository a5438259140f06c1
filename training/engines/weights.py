"""The weights of a model in training, whole, however they are spread over processes.

Rule: every process of a run takes part in every walk over the weights, whatever it does with them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors.torch import save_file

from training.policy import ADAPTED, FROZEN

_WRAPPERS = ("_checkpoint_wrapped_module.", "_orig_mod.", "module.")
"""What checkpointing of activations, `torch.compile` and DDP put into a parameter's name."""


def weights(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Each parameter once, under its name in a checkpoint, adapters merged; valid until the next one is asked for."""
    layers = dict(model.named_modules())
    for name, parameter in model.named_parameters():
        if ADAPTED in name:
            continue
        layer = layers.get(name.partition(FROZEN)[0]) if FROZEN in name else None
        parts = [parameter] if layer is None else [parameter, layer.lora_A.default.weight, layer.lora_B.default.weight]
        for wrapper in (*_WRAPPERS, FROZEN):
            name = name.replace(wrapper, "")
        with _whole(parts):
            whole, *pair = (part.full_tensor() if hasattr(part, "full_tensor") else part for part in parts)
            if layer is not None:
                whole = torch.addmm(whole, pair[1], pair[0], alpha=layer.scaling["default"])
            yield name, whole.detach()


def gathered(model: Any) -> dict[str, torch.Tensor]:
    """All weights in the CPU's memory of the main process; the others take part and get none."""
    main = is_main()
    return {name: tensor.cpu().contiguous() for name, tensor in weights(model) if main}


def _whole(parameters: list[Any]) -> AbstractContextManager[Any]:
    """DeepSpeed's ZeRO-3 leaves a stub in each process; FSDP2's shards are gathered by the tensor itself."""
    if not hasattr(parameters[0], "ds_id"):
        return nullcontext()
    found: AbstractContextManager[Any] = import_module("deepspeed").zero.GatheredParameters(parameters)
    return found


class Handover:
    """A safetensors file through which engines on this machine, or on a shared file system, get new weights.

    The main process writes it anew at each step. In `/dev/shm`, the default, it never touches a disk.
    """

    def __init__(self, folder: Path | None = None) -> None:
        memory = Path("/dev/shm")
        place = folder or (memory if memory.is_dir() else Path(tempfile.gettempdir()))
        self.path = place / f"longthink-policy-{uuid4().hex}.safetensors"

    def write(self, model: Any) -> None:
        """Every process walks, one writes."""
        kept = gathered(model)
        if is_main():
            save_file(kept, self.path)

    def remove(self) -> None:
        """Nobody needs it any more."""
        self.path.unlink(missing_ok=True)


def is_main() -> bool:
    """Whether this process speaks for the run."""
    distributed = torch.distributed
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0


def world_size() -> int:
    """Processes of the run."""
    distributed = torch.distributed
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
