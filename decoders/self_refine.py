"""Self-refine: show the model its last attempt and let it write a better one, again and again."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from decoders.base import Completion, Iterative, Run, Task
from decoders.core.choosing import shown


class SelfRefine(Iterative):
    """y_1 ~ p(· | x), y_t ~ p(· | x, y_{t-1}) for t = 2 … T; the answer is that of y_T.

    Feedback and revision are one call, as in the Reasoning Cache paper's baseline. The whole of the last attempt is in
    the prompt, reasoning included. Where y_T has no answer, the newest attempt that has one is returned (ours).
    """

    name: ClassVar[str] = "self_refine"
    paper: ClassVar[str] = "Madaan et al. 2023, arXiv 2303.17651, in the form of arXiv 2602.03773"
    revision: ClassVar[str] = "refine"
    """The prompt of all turns but the first."""

    turns: int = Field(default=4, ge=1, le=1024)
    """Attempts T, the first one included."""
    max_tokens: int = Field(default=16384, ge=1)
    """Tokens of one attempt at most; the context must hold two attempts and the problem."""

    async def decode(self, task: Task, run: Run) -> Completion:
        """The loop; only the last attempt streams as the answer."""
        run.pack().require(self.revision)
        prompt, progress = run.prompt("solve", task), self.progress(task, run)
        for turn in range(1, self.turns + 1):
            last = turn == self.turns
            role = "solve" if turn == 1 else self.revision
            draft = await self.solve(prompt, run, role=role, max_tokens=self.max_tokens, final=last, reply=True)
            if draft.answered or run.best is None:
                run.answer(draft)
            if last or await progress.settled(draft):
                break
            prompt = run.prompt(self.revision, task, reasoning=draft.reasoning, answer=shown(draft))
        assert run.best is not None
        return draft if draft.answered else run.best
