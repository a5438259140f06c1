"""Beam search over steps: grow several replies a step at a time and go on with those that a judge marks best."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from decoders.base import Completion, Run, Task
from decoders.stepwise import Path, Stepwise


class BeamSearch(Stepwise):
    """B_0 = {x}, B_t = the b best, by r, of {s ∘ y : s ∈ B_{t-1}, y ~ p(step | s), m draws each}.

    r is a judge's mark of what is written so far. A reply that ends keeps its place by its score. The best reply that
    has ended is the answer.
    """

    name: ClassVar[str] = "beam_search"
    paper: ClassVar[str] = "Snell et al. 2024, arXiv 2408.03314, with a served model as the process reward"

    beams: int = Field(default=4, ge=1, le=256)
    """Replies that are kept after each step, b."""
    candidates: int = Field(default=4, ge=1, le=256)
    """Next steps that are drawn for each of them, m."""

    async def decode(self, task: Task, run: Run) -> Completion:
        """Expand, mark, prune."""
        self.check(run)
        paths = [Path()] * self.beams
        for _ in range(self.steps):
            expanded = [path for path in paths for _ in range(1 if path.done else self.candidates)]
            grown = await self.advance(task, run, expanded)
            paths = sorted(grown, key=self.score, reverse=True)[: self.beams]
            best = self.show(run, paths)
            if all(path.done for path in paths):
                break
        return best
