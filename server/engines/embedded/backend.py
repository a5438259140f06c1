"""The interface between the scheduler and whatever computes logits. Rule: a backend keeps no state but the slots,
and whose weights it computes with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from decoders.core.errors import EngineUnavailable
from server.engines.embedded.checkpoint import Checkpoint
from server.engines.embedded.models import Tenants
from server.engines.tenants.adapters import Adapters

Integers = NDArray[np.int64]
Logits = NDArray[np.float32]
Kind = Literal["auto", "onnx", "torch"]


class Backend(Protocol):
    """Keys and values of `slots` sequences of up to `capacity` tokens, side by side."""

    slots: int
    capacity: int
    continues_batches: bool
    """Whether several rows that hold tokens already can take several tokens each in one call."""
    mixes: bool
    """Whether one call can be about rows of several tenants: then `assign` is called and not `select`."""

    def forward(self, first: int, ids: Integers, past: Integers, counts: Integers) -> Logits:
        """Append tokens to the neighbouring slots from `first` on and return the logits after the last of each.

        `ids` is [rows, S], padded on the right; row i holds `past[i]` tokens already and takes the first `counts[i]`
        of its ids. Returns [rows, vocabulary], valid until the next call.
        """
        ...

    def copy(self, source: int, target: int, length: int) -> None:
        """Make the first `length` tokens of a slot those of another."""
        ...

    def swap(self, one: int, other: int, length: int) -> None:
        """Exchange the first `length` tokens of two slots."""
        ...

    def wipe(self, slot: int, begin: int, end: int) -> None:
        """Leave nothing of these tokens of a slot."""
        ...

    def select(self, tenant: str) -> None:
        """Compute with a tenant's weights from now on, or with the base's where that is empty.

        Raises `UnknownModel` where there is no such tenant, `OSError` or `ValueError` where its weights cannot be read,
        and changes nothing then.
        """
        ...

    def assign(self, tenants: Sequence[str]) -> None:
        """Whose the rows of the next calls are, where rows of several can be mixed; all were selected."""
        ...

    def renew(self) -> None:
        """The tenants' weights have changed: compute with the base's, and make theirs anew when they are needed."""
        ...


def load(
    checkpoint: Checkpoint,
    kind: Kind,
    device: str,
    *,
    slots: int,
    context: int,
    threads: int | None,
    tenants: Tenants | None = None,
) -> tuple[Backend, str]:
    """The backend and its name; "auto" means ONNX on the CPU where the exporter knows the model, else torch."""
    from server.engines.embedded.export import UnsupportedCheckpoint, refusal

    wants_cpu = device in ("auto", "cpu")
    reason = refusal(checkpoint.config, context)
    if kind == "onnx" or (kind == "auto" and wants_cpu and reason is None):
        from server.engines.embedded.backend_onnx import OnnxBackend

        try:
            return OnnxBackend(checkpoint, slots=slots, context=context, threads=threads, tenants=tenants), "onnx"
        except UnsupportedCheckpoint as error:
            if kind == "onnx":
                raise EngineUnavailable(str(error)) from error
    try:
        from server.engines.embedded.backend_torch import TorchBackend

        shape: dict[str, Any] = {"device": device, "slots": slots, "context": context, "threads": threads}
        if tenants is not None and isinstance(tenants.source, Adapters):
            from server.engines.embedded.backend_adapters import AdapterBackend

            return AdapterBackend(checkpoint, tenants=tenants, **shape), "torch"
        return TorchBackend(checkpoint, tenants=tenants, **shape), "torch"
    except ImportError as error:
        why = f" ({reason})" if reason else ""
        raise EngineUnavailable(f"{checkpoint.folder} needs the torch backend{why}: pip install '.[train]'") from error


def affordable(slots: int, bytes_per_slot: int, budget: int) -> int:
    """How many slots fit into a budget of bytes, at least one."""
    return max(1, min(slots, budget // max(1, bytes_per_slot)))
