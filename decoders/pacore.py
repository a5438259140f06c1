"""PaCoRe, parallel coordinated reasoning: rounds of parallel answers that read the final parts of the round before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from decoders.base import Completion, Iterative, Prompt, Run, Task
from decoders.core.choosing import leader, shown

PRESETS: Mapping[str, list[int]] = {"low": [4], "medium": [16], "high": [32, 4]}
"""The paper's widths."""


class PaCoRe(Iterative):
    """M_0 = ∅, y_{r,i} ~ p(· | x, M_{r-1}) for i = 1 … K_r, M_r = {final part of y_{r,i}}; the last round has one call.

    Thinking is thrown away, so a prompt grows with the width of a round, never with how long its answers thought. All
    calls have equal shares of the budget, so the last one is never starved by those before.
    """

    name: ClassVar[str] = "pacore"
    paper: ClassVar[str] = "PaCoRe, arXiv 2601.05593"

    widths: (
        Literal["low", "medium", "high"]
        | Annotated[list[Annotated[int, Field(ge=1, le=256)]], Field(min_length=1, max_length=8)]
    ) = "low"
    """Calls of each round before the last: `low` is [4], `medium` [16], `high` [32, 4]."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens of one call at most; without it an equal share of the budget."""

    async def decode(self, task: Task, run: Run) -> Completion:
        """Round after round; where nobody of a round came to a final part, the next one starts from the problem."""
        run.pack().require("references")
        widths = self._fitting(run.budget.left)
        progress, references = self.progress(task, run), list[str]()
        for i, width in enumerate(widths):
            prompt = self._prompt(task, run, references)
            share = self._share(run.budget.left, sum(widths[i:]) + 1)
            answers = await self.solutions(prompt, width, run, role=_role(references), max_tokens=share)
            best = leader(run, answers)
            if best.answered or run.best is None:
                run.answer(best)
            if await progress.settled(best):
                return best
            references = [text for text in map(shown, answers) if text]
            run.rng.shuffle(references)
        prompt = self._prompt(task, run, references)
        share = self._share(run.budget.left, 1)
        last = await self.solve(prompt, run, role=_role(references), max_tokens=share, final=True)
        return last if last.answered else run.best or last

    def _fitting(self, purse: int) -> list[int]:
        """The widths, scaled down as far as two where the purse does not hold all calls at full length."""
        widths = PRESETS[self.widths] if isinstance(self.widths, str) else self.widths
        room = purse // self.max_tokens / (sum(widths) + 1) if self.max_tokens else 1.0
        return [min(width, max(int(width * room), 2)) for width in widths]

    def _share(self, left: int, calls: int) -> int:
        share = max(left // calls, 1)
        return min(self.max_tokens or share, share)

    def _prompt(self, task: Task, run: Run, references: list[str]) -> Prompt:
        return run.prompt("references", task, references=references) if references else run.prompt("solve", task)


def _role(references: list[str]) -> str:
    return "coordinate" if references else "solve"
