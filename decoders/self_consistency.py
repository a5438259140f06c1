"""Self-consistency: sample n times and take the answer that most samples agree on."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from decoders.base import Completion, Run, Solving, Task
from decoders.core.choosing import leader


class SelfConsistency(Solving):
    """argmax_a Σ_i 1[answer(y_i) = a], y_i ~ p(y | x); the earliest of equals wins."""

    name: ClassVar[str] = "self_consistency"
    paper: ClassVar[str] = "Wang et al. 2023, arXiv 2203.11171"

    n: int = Field(default=8, ge=1, le=1024)
    """Samples."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens of one sample at most; without it an equal share of the budget."""

    async def decode(self, task: Task, run: Run) -> Completion:
        """Samples that were cut before they answered have no vote."""
        samples = await self.solutions(run.prompt("solve", task), self.n, run, max_tokens=self.max_tokens)
        winner = leader(run, samples)
        run.answer(winner)
        return winner
