"""Other ways to make one model, or many, of the same fine-tuned changes, written from the formulas of their papers.

With τ of plain fine-tuning and τ̄ = Σ τ / T: averaging serves θ₀ + τ̄ to everybody. TALL-masks and EMR-Merging give each
tenant a mask too, but compute it FROM the merged model: whoever is deleted, all masks must be made again, and with
them all contributions where they were not kept. Rule: what a method needs of a tenant is one change τ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from server.engines.tenants.sums import Floats

Changes = Mapping[str, Floats]


def averaged(changes: Sequence[Changes]) -> dict[str, Floats]:
    """τ̄, the same for everybody: naive merging."""
    return {name: np.mean([change[name] for change in changes], axis=0) for name in changes[0]}


def tall(changes: Sequence[Changes], threshold: float = 0.4) -> Iterator[dict[str, Floats]]:
    """TALL-masks (Wang et al. 2024): Σ τ where |τ_t| ≥ λ |Σ τ - τ_t|, for each tenant in turn."""
    total = {name: np.sum([change[name] for change in changes], axis=0) for name in changes[0]}
    for own in changes:
        made = {}
        for name, all_of_it in total.items():
            local = np.abs(own[name]) >= threshold * np.abs(all_of_it - own[name])
            made[name] = np.where(local, all_of_it, 0).astype(np.float32)
        yield made


def emr(changes: Sequence[Changes]) -> Iterator[dict[str, Floats]]:
    """EMR-Merging (Huang et al. 2024): elect one change, mask it by each tenant's signs, rescale it to its size.

    Elected are the sign of Σ τ and the largest |τ| that has it; the mask is where τ_t agrees, the factor Σ|τ_t| over
    the sum of what the mask leaves.
    """
    elected = {name: _elect(np.stack([change[name] for change in changes])) for name in changes[0]}
    for own in changes:
        masked = {name: np.where(own[name] * one > 0, one, 0) for name, one in elected.items()}
        left = sum(float(np.abs(part).sum()) for part in masked.values())
        scale = sum(float(np.abs(part).sum()) for part in own.values()) / max(left, 1e-12)
        yield {name: (scale * part).astype(np.float32) for name, part in masked.items()}


def _elect(stacked: NDArray[np.float32]) -> NDArray[np.float32]:
    sign = np.sign(stacked.sum(0))
    agreeing = np.where(stacked * sign > 0, np.abs(stacked), 0)
    elected: NDArray[np.float32] = sign * agreeing.max(0)
    return elected
