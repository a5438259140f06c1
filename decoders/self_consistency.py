"""Self-consistency: sample n times and take the answer that most samples agree on."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

from pydantic import Field

from decoders.base import Completion, Decoder, Run, Task


class SelfConsistency(Decoder):
    """argmax_a Σ_i 1[answer(y_i) = a], y_i ~ p(y | x); the earliest of equals wins."""

    name: ClassVar[str] = "self_consistency"
    paper: ClassVar[str] = "Wang et al. 2023, arXiv 2203.11171"

    n: int = Field(default=8, ge=1, le=1024)
    """Samples."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens of one sample at most; without it an equal share of the budget."""

    async def decode(self, task: Task, run: Run) -> Completion:
        """Samples that were cut before they answered have no vote."""
        samples = await run.sample(run.prompt("solve", task), self.n, role="solve", max_tokens=self.max_tokens)
        candidates = [s for s in samples if s.answered]
        if not candidates:
            run.answer(samples[0])
            return samples[0]
        extract = run.pack().extract
        votes = Counter(extract(s.answer) for s in candidates)
        winner = max(candidates, key=lambda s: votes[extract(s.answer)])
        run.answer(winner)
        return winner
