"""What a backend has made of its tenants' weights. Rule: no more bytes than allowed, the longest unused goes first.

A model that is gone is made again when it is needed: from the base, the merged sums and the tenant's mask.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from decoders.core.errors import EngineUnavailable
from server.engines.embedded.checkpoint import Weights
from server.engines.tenants.source import TenantWeights

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Tenants:
    """Where the weights of tenants come from, and how many bytes of models may be made of them."""

    source: TenantWeights
    budget: int


class Models(Generic[M]):
    """By tenant; the empty name is the base, which always stays. One alone may be larger than what is allowed."""

    def __init__(self, base: M, make: Callable[[Weights], M], tenants: Tenants | None, weights: Weights) -> None:
        self._base, self._make, self._tenants = base, make, tenants
        self._weights = weights if tenants else {}
        self._made: OrderedDict[str, tuple[M, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._made)

    def of(self, tenant: str) -> M:
        """Raises `UnknownModel` where there is no such tenant."""
        if not tenant or self._tenants is None:
            return self._base
        if tenant not in self._made:
            changed = self._tenants.source.weights(tenant, self._weights)
            size = sum(tensor.nbytes for tensor in changed.values())
            self._made_room(size, self._tenants.budget)
            self._made[tenant] = self._make(changed), size
        self._made.move_to_end(tenant)
        return self._made[tenant][0]

    def check(self) -> None:
        """Raises `EngineUnavailable` where the tenants are another base's."""
        if self._tenants is not None:
            try:
                self._tenants.source.check(self._weights)
            except ValueError as error:
                raise EngineUnavailable(str(error)) from error

    def forget(self) -> None:
        """Drop all but the base."""
        self._made.clear()

    def _made_room(self, size: int, budget: int) -> None:
        while self._made and size + sum(taken for _, taken in self._made.values()) > budget:
            self._made.popitem(last=False)
