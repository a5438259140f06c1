"""RC, the reasoning cache: reason, summarise, discard, reason again (arXiv 2602.03773, section 5.1)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from decoders.base import Completion, Iterative, Prompt, Run, Task


class RC(Iterative):
    """z_t ~ p(· | x, s_{t-1}), s_t ~ p(· | x, s_{t-1}, z_t) for t = 1 … T, s_0 empty; the answer is that of z_T.

    Every turn restates the problem; the new summary replaces the old one; the reasoning is thrown away, so the context
    stays bounded however many turns there are. Where z_T was cut before it ended with an answer, the newest turn that
    has one is returned instead (ours; the paper returns z_T as it is).
    """

    name: ClassVar[str] = "rc"
    paper: ClassVar[str] = "Reasoning Cache, arXiv 2602.03773"

    turns: int = Field(default=12, ge=1, le=1024)
    """Reasoning turns T; there are T - 1 summaries."""
    reasoning_tokens: int = Field(default=16384, ge=1)
    """Tokens of one reasoning turn at most, H_R in the paper: about the length at which the model stops by itself."""
    summary_tokens: int = Field(default=2048, ge=1)
    """Tokens of one summary at most, H_S in the paper."""
    summary_model: str | None = None
    """Another served model that writes the summaries."""

    async def decode(self, task: Task, run: Run) -> Completion:
        """The paper's loop."""
        summary, progress = "", self.progress(task, run)
        for turn in range(1, self.turns + 1):
            draft = await self.reason(task, run, summary, final=turn == self.turns)
            if draft.answered or run.best is None:
                run.answer(draft)
            if turn == self.turns or await progress.settled(draft, summary):
                break
            summary = await self.summarise(task, run, summary, draft)
        assert run.best is not None
        return draft if draft.answered else run.best

    def prompt(self, task: Task, run: Run, summary: str) -> Prompt:
        """What a turn is asked that begins from this summary, "" for none."""
        return run.prompt("reason", task, summary=summary)

    async def reason(self, task: Task, run: Run, summary: str, *, final: bool = False) -> Completion:
        """One turn: z ~ p(· | x, s)."""
        prompt = self.prompt(task, run, summary)
        return await self.solve(prompt, run, role="reason", max_tokens=self.reasoning_tokens, final=final)

    async def summarise(self, task: Task, run: Run, summary: str, draft: Completion) -> str:
        """The summary that replaces the one before it; an empty one does not."""
        prompt = run.prompt(
            "summarise",
            task,
            model=self.summary_model,
            summary=summary,
            draft=draft.text,
            reasoning=draft.reasoning,
            answer=draft.answer,
        )
        done = await run.generate(prompt, role="summarise", max_tokens=self.summary_tokens, model=self.summary_model)
        return done.answer.strip() or summary
