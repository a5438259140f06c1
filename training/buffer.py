"""What a recipe remembers of earlier batches: a replay buffer of rows, of which each step draws some.

Rule: all that it holds is JSON, so that a run that was killed draws exactly what it would have drawn.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from training.rows import Row


class Buffer:
    """The newest `capacity` rows, drawn without replacement.

    A row's weight is half its recency and half how rare its kind is, each a share of all in the buffer:
    w_i = ½ (i + 1) / Σ_j (j + 1) + ½ n(kind_i)⁻¹ / Σ_j n(kind_j)⁻¹, with i counted from the oldest.
    """

    def __init__(self, capacity: int) -> None:
        self._rows: deque[Row] = deque(maxlen=capacity)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rows: Sequence[Row]) -> None:
        """Remember these, the oldest first; what is beyond the capacity is forgotten."""
        self._rows.extend(rows)

    def weights(self) -> list[float]:
        """The weight of each row, the oldest first; they sum to 1."""
        kinds = Counter(row.kind for row in self._rows)
        ages = len(self._rows) * (len(self._rows) + 1) / 2
        return [0.5 * (i + 1) / ages + 0.5 / (kinds[row.kind] * len(kinds)) for i, row in enumerate(self._rows)]

    def draw(self, n: int, rng: random.Random) -> list[Row]:
        """At most `n` different rows by weight, in the order in which they came."""
        if n >= len(self._rows):
            return list(self._rows)
        # Keys u^(1/w), the largest first, are draws by weight one after the other (Efraimidis and Spirakis, 2006).
        keys = [rng.random() ** (1 / weight) for weight in self.weights()]
        chosen = sorted(range(len(keys)), key=keys.__getitem__)[-n:]
        return [self._rows[i] for i in sorted(chosen)]

    def state(self) -> list[dict[str, Any]]:
        """All rows as JSON."""
        return [asdict(row) for row in self._rows]

    def restore(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Hold what `state` gave, and nothing else."""
        self._rows.clear()
        for values in state:
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            self._rows.append(Row(**fields))
