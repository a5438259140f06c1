"""Particle filtering: grow a population of replies a step at a time and resample it by what a judge thinks of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from decoders.base import Completion, Run, Task
from decoders.stepwise import Path, Stepwise

_CERTAIN = 1e-3
"""How far a mark stays away from 0 and 1."""


class ParticleFiltering(Stepwise):
    """s_i ∘ y_i, y_i ~ p(step | s_i); then n draws with replacement, s_i with weight softmax(logit(r_i) / τ).

    r_i is a judge's mark of what particle i has written so far. Particles that have ended are drawn like the others.
    The one with the best mark is the answer.
    """

    name: ClassVar[str] = "particle_filtering"
    paper: ClassVar[str] = "Puri et al. 2025, arXiv 2502.01618, with a served model as the process reward"

    n: int = Field(default=8, ge=1, le=256)
    """Particles."""
    temperature: float = Field(default=1.0, gt=0, le=100)
    """τ: large values make the draw even, small ones keep only the best."""

    async def decode(self, task: Task, run: Run) -> Completion:
        """Grow, weigh, resample."""
        self.check(run)
        particles = [Path()] * self.n
        for _ in range(self.steps):
            grown = await self.advance(task, run, particles)
            best = self.show(run, grown)
            if all(path.done for path in grown):
                break
            particles = run.rng.choices(grown, self._weights(grown), k=self.n)
        return best

    def _weights(self, paths: Sequence[Path]) -> list[float]:
        """The softmax, up to a factor; marks of 0 and 1 are taken for almost that, as their logits are infinite."""
        marks = [min(max(self.score(path), _CERTAIN), 1 - _CERTAIN) for path in paths]
        logits = [math.log(mark / (1 - mark)) for mark in marks]
        return [math.exp((logit - max(logits)) / self.temperature) for logit in logits]
