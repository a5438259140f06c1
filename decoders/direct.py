"""One completion of the conversation as it is: what a plain chat endpoint does."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from decoders.base import Completion, Decoder, Honour, Prompt, Run, Task


class Direct(Decoder):
    """Sample once: `y ~ p(y | x)`."""

    name: ClassVar[str] = "direct"
    paper: ClassVar[str] = "none: the baseline"
    honours: ClassVar[frozenset[Honour]] = Decoder.honours | {"prompt"}

    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens at most; without it all of the budget."""

    async def decode(self, task: Task, run: Run) -> Completion:
        """One call, streamed as the answer."""
        completion = await run.generate(self.prompt(task, run), role="solve", max_tokens=self.max_tokens, final=True)
        run.answer(completion)
        return completion

    def prompt(self, task: Task, run: Run) -> Prompt:
        """The one prompt there is."""
        return task.prompt or run.prompt("solve", task, prefix=task.prefix)
