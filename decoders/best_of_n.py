"""Best of n: sample, let a verifier judge each sample, return the best."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from decoders.base import Completion, Run, Solving, Task
from decoders.core.choosing import accepted


class BestOfN(Solving):
    """argmax over n samples of the share of verifications that accept it; the earliest of equals wins."""

    name: ClassVar[str] = "best_of_n"
    paper: ClassVar[str] = "Cobbe et al. 2021, arXiv 2110.14168, with the model as its own verifier"

    n: int = Field(default=4, ge=1, le=256)
    """Samples."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens of one sample at most; without it an equal share of the budget."""
    verifications: int = Field(default=1, ge=1, le=64)
    """Verdicts for each different answer."""
    verify_tokens: int = Field(default=2048, ge=1)
    """Tokens of one verification at most."""
    verify_model: str | None = None
    """Another served model that verifies."""

    async def decode(self, task: Task, run: Run) -> Completion:
        """Sample all, then verify each different answer once; samples without an answer are not verified."""
        run.pack(self.verify_model).require("verify")
        fair = run.budget.left // self.n
        share = self.max_tokens or max(fair - min(self.verifications * self.verify_tokens, fair // 4), 1)
        samples = await self.solutions(run.prompt("solve", task), self.n, run, max_tokens=share)
        candidates = [s for s in samples if s.answered]
        run.answer((candidates or samples)[0])
        if not candidates:
            return samples[0]
        scores = await accepted(
            task,
            run,
            candidates,
            times=self.verifications,
            max_tokens=self.verify_tokens,
            model=self.verify_model,
        )
        return max(candidates, key=lambda candidate: scores[run.same(candidate)])
