"""Budget forcing: make the model think on where it would stop, and answer where it would think on."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from decoders.base import Completion, Decoder, Honour, Run, Task
from decoders.core.draft import Draft
from decoders.core.engine import Feature
from decoders.core.thinking import CLOSE


class BudgetForcing(Decoder):
    """z = z_0 w z_1 w … w z_n, y ~ p(· | x, z): where the model would end its thinking, it is made to say w, n times.

    Thinking that is not over after `thinking_tokens` is cut there and the model made to answer. A model without a
    thinking block gets w where it would end its reply. All of it is one turn of the assistant's.
    """

    name: ClassVar[str] = "budget_forcing"
    paper: ClassVar[str] = "s1, arXiv 2501.19393"
    needs: ClassVar[frozenset[Feature]] = frozenset({"prefix"})
    honours: ClassVar[frozenset[Honour]] = frozenset({"images"})

    waits: int = Field(default=1, ge=0, le=64)
    """How often the model is made to go on."""
    wait: str = "Wait"
    """What it is made to say then."""
    thinking_tokens: int = Field(default=32000, ge=1)
    """Tokens of thinking at most, all stretches together; fewer where budget or context hold less."""
    answer_tokens: int = Field(default=2048, ge=1)
    """Tokens of the answer behind the thinking at most; a quarter of the budget at most is kept back for them."""
    closing: str = "Final Answer:"
    """How the answer begins where the thinking was cut."""

    async def decode(self, task: Task, run: Run) -> Completion:
        """Think, wait n times, answer."""
        prompt = run.prompt("solve", task)
        limit = self._limit(run, await run.room(prompt))
        draft = Draft()
        for wait in range(self.waits + 1):
            draft = await (draft.put(self.wait) if wait else draft).extend(
                prompt, run, role="think", max_tokens=limit - draft.tokens, stop=(CLOSE,)
            )
            run.answer(draft.completion())
            cut = draft.calls[-1].finish == "length"
            if cut or draft.tokens >= limit:
                break
        if not draft.thinking and not cut:
            return draft.completion()
        closing = self.closing if cut else ""
        draft = draft.ended(closing)
        draft = await draft.extend(prompt, run, role="answer", max_tokens=self.answer_tokens, final=not closing)
        run.answer(draft.completion())
        return draft.completion()

    def _limit(self, run: Run, room: int) -> int:
        left = min(run.budget.left, room)
        return max(min(self.thinking_tokens, left - min(self.answer_tokens, left // 4)), 1)
