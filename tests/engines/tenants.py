"""A small merged model over a random checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from server.engines.embedded.checkpoint import weights
from server.engines.tenants.ledger import Ledger
from server.engines.tenants.sums import Floats
from server.engines.tenants.terms import Terms, base_digest

SHARE = 0.5


def changes(terms: Terms, seed: int, size: float = 1.0) -> dict[str, Floats]:
    """A tenant's change along the signs; large, so that its model says something else."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, shape in terms.shapes.items():
        sign = np.where(terms.signs(name), 1.0, -1.0)
        drawn = np.abs(rng.normal(scale=size, size=shape)) * (rng.random(shape) < SHARE) * sign
        made[name] = drawn.astype(np.float32)
    return made


def merged(folder: Path, base: Path, *tenants: str, **terms: object) -> Ledger:
    """Tenants that change every matrix but the embeddings; the n-th has the seed n."""
    found = weights(base)
    shapes = {name: tensor.shape for name, tensor in found.items() if tensor.ndim == 2 and "embed" not in name}
    ledger = Ledger.create(folder, Terms(base_digest(found), 7, shapes, **terms))  # type: ignore[arg-type]
    for number, name in enumerate(tenants):
        ledger.add(name, changes(ledger.terms, number))
    return ledger
