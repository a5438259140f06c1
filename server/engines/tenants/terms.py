"""What stays the same for all tenants of a merged model: base, seed of the signs, what is trained and how it is read.

Rule: terms are fixed before the first tenant comes. What would be tuned on tenants' data, such as `factor`, would keep
a trace of those who are deleted later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from server.engines.tenants.signs import signs
from server.engines.tenants.sums import Bits, Floats, Sums, digest, unpacked

Reading = Literal["tenants", "users"]
Tensors = Mapping[str, Floats]
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Terms:
    """`shapes` are those of what is trained: weights, or with a `rank` the matrices B of ΔW = (alpha / rank) B A.

    Full weights divided by `tenants` are the paper's. Ours are the other two: `users` divides each entry by the number
    of tenants that use it, and a rank trains B alone, over one A for all tenants that is drawn from the seed and never
    trained. ΔW is linear in B, so that sums, signs, masks and deletion are as exact there.
    """

    base: str
    """SHA-256 of the base's tensors."""
    seed: int
    shapes: Mapping[str, tuple[int, ...]]
    rank: int = 0
    alpha: float = 16.0
    divide_by: Reading = "tenants"
    factor: float = 1.0
    """The change is multiplied by this; 1 in the paper."""

    @classmethod
    def load(cls, path: Path) -> Terms:
        """`ValueError` for what is no file of terms."""
        told = json.loads(path.read_text("utf-8"))
        if told.pop("format", None) != FORMAT:
            raise ValueError(f"{path} is not of format {FORMAT}")
        shapes = {name: tuple(shape) for name, shape in told.pop("shapes").items()}
        return cls(shapes=shapes, **told)

    def dump(self, path: Path) -> None:
        """Write them."""
        path.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n", "utf-8")

    def signs(self, name: str) -> NDArray[np.bool_]:
        """True where a trained tensor may only grow, False where it may only shrink."""
        return signs(self.seed, name, self.shapes[name])

    def projection(self, name: str, inputs: int) -> Floats:
        """A of a weight with so many inputs, [rank, inputs], entries ± inputs^-½."""
        drawn = signs(self.seed, f"{name}/A", (self.rank, inputs))
        entries: Floats = np.where(drawn, inputs**-0.5, -(inputs**-0.5)).astype(np.float32)
        return entries

    def change(self, name: str, trained: NDArray[np.float64], inputs: int) -> NDArray[np.float64]:
        """ΔW of a weight from what was trained of it."""
        if not self.rank:
            return trained
        return (self.alpha / self.rank) * trained @ self.projection(name, inputs).astype(np.float64)

    def weights(self, base: Tensors, sums: Sums, mask: Mapping[str, Bits] | None) -> dict[str, Floats]:
        """θ = θ₀ + factor · m ∘ S / T of the tensors that have changed; without a mask the merged model of all."""
        made = {}
        for name, shape in self.shapes.items():
            merged = self.factor * (sums.mean(name) if self.divide_by == "tenants" else sums.mean_of_users(name))
            if mask is not None:
                merged = np.where(unpacked(mask, name, shape), merged, 0.0)
            weight = base[name]
            made[name] = (weight + self.change(name, merged, weight.shape[-1])).astype(np.float32)
        return made


def base_digest(base: Tensors) -> str:
    """What `Terms.base` has of a model's tensors."""
    return digest(base)
