"""The torch backend with LoRA adapters beside the weights: rows of different tenants in one call.

    y = W x + (α / r) B_t A_t x, with A and B of each row's own tenant t

Rule: a row of the base adds nothing, bit for bit. Low-rank products cost little, and nobody waits for another's turn.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from decoders.core.errors import EngineUnavailable
from server.engines.embedded.backend_torch import TorchBackend
from server.engines.embedded.models import Tenants
from server.engines.tenants.adapters import Adapters

Part = tuple[torch.Tensor, torch.Tensor]


class AdapterBackend(TorchBackend):
    """`assign` says whose rows the next calls are about."""

    mixes = True

    def __init__(self, *arguments: Any, tenants: Tenants, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if not isinstance(tenants.source, Adapters):
            raise EngineUnavailable("only adapters can be computed side by side")
        self._adapters, self._budget = tenants.source, tenants.budget
        self._kept: OrderedDict[str, dict[str, Part]] = OrderedDict()
        self._shapes = {name: tuple(weight.shape) for name, weight in self._model.named_parameters()}
        self._rows: tuple[str, ...] = ()
        self._stacked: dict[str, Part] = {}
        for name, module in self._model.named_modules():
            if isinstance(module, torch.nn.Linear):
                module.register_forward_hook(partial(self._add, f"{name}.weight"))

    def select(self, tenant: str) -> None:
        """Have a tenant's adapter ready. Raises as `Backend.select` does."""
        if tenant:
            self._parts(tenant)

    @torch.inference_mode()
    def assign(self, tenants: Sequence[str]) -> None:
        """See `Backend.assign`."""
        if self._rows == tuple(tenants):
            return
        parts = {tenant: self._parts(tenant) for tenant in dict.fromkeys(tenants) if tenant}
        ranks = {name: 0 for found in parts.values() for name in found}
        for found in parts.values():
            ranks |= {name: max(ranks[name], b.shape[0]) for name, (_, b) in found.items()}
        self._stacked = {name: self._stack(name, rank, parts, tenants) for name, rank in ranks.items()}
        self._rows = tuple(tenants)
        while len(self._kept) > 1 and sum(map(_bytes, self._kept.values())) > self._budget:
            self._kept.popitem(last=False)

    def renew(self) -> None:
        """See `Backend.renew`."""
        self._kept.clear()
        self._rows, self._stacked = (), {}

    def _add(self, name: str, module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        part = self._stacked.get(name)
        return output if part is None else output + torch.bmm(torch.bmm(inputs[0], part[0]), part[1])

    def _stack(self, name: str, rank: int, parts: Mapping[str, dict[str, Part]], tenants: Sequence[str]) -> Part:
        """A and B of each row, filled up with zeros to one rank."""
        outputs, inputs = self._shapes[name]
        a = torch.zeros(len(tenants), inputs, rank, device=self._device, dtype=self._dtype)
        b = torch.zeros(len(tenants), rank, outputs, device=self._device, dtype=self._dtype)
        for row, tenant in enumerate(tenants):
            if tenant and name in parts[tenant]:
                own = parts[tenant][name]
                a[row, :, : own[0].shape[1]], b[row, : own[1].shape[0]] = own
        return a, b

    def _parts(self, tenant: str) -> dict[str, Part]:
        """A and (α / r) B of a tenant by weight, transposed."""
        if tenant not in self._kept:
            found = self._adapters.parts(tenant, self._shapes)
            self._kept[tenant] = {name: (self._transposed(a), self._transposed(b)) for name, (a, b) in found.items()}
        self._kept.move_to_end(tenant)
        return self._kept[tenant]

    def _transposed(self, matrix: NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(matrix.T)).to(self._device, self._dtype)


def _bytes(parts: dict[str, Part]) -> int:
    return sum(tensor.nbytes for part in parts.values() for tensor in part)
