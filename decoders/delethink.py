"""Delethink, the Markovian thinker: think in chunks, and carry only the end of the last one into the next."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from decoders.base import Completion, Decoder, Honour, Prompt, Run, Task
from decoders.core.draft import Draft
from decoders.core.engine import Feature


class Delethink(Decoder):
    """z_1 ~ p(· | x), z_i ~ p(· | x ∘ head(z) ∘ tail_m(z)), z = z_1 ∘ … ∘ z_{i-1}, until the model stops or i = I.

    The head are the first tokens of the thinking, the tail the last ones; what is between them is forgotten, so a chunk
    never reads more than x and C tokens. The answer is what follows the thinking in z as a whole. It is all done with
    token ids, as text that is tokenised again may become other tokens.
    """

    name: ClassVar[str] = "delethink"
    paper: ClassVar[str] = "The Markovian Thinker, arXiv 2510.06557"
    needs: ClassVar[frozenset[Feature]] = frozenset({"token_ids"})
    honours: ClassVar[frozenset[Honour]] = frozenset()

    chunks: int = Field(default=5, ge=1, le=1024)
    """Chunks at most, I."""
    chunk_tokens: int = Field(default=8192, ge=1)
    """Tokens of a chunk at most, C, carried ones included; a later chunk may write at least one."""
    carry_tokens: int = Field(default=4096, ge=1)
    """Tokens carried over from the end of the thinking, m."""
    head_tokens: int = Field(default=100, ge=0)
    """Tokens carried over from its beginning."""

    async def decode(self, task: Task, run: Run) -> Completion:
        """The paper's loop."""
        question = run.prompt("solve", task)
        asked = await run.tokenize(question)
        draft = Draft().plus(await run.generate(question, role="think", max_tokens=self.chunk_tokens))
        run.answer(draft.completion())
        for _ in range(1, self.chunks):
            if draft.calls[-1].finish == "stop":
                break
            written = draft.completion().token_ids
            head, rest = written[: self.head_tokens], written[self.head_tokens :]
            carried = Prompt(token_ids=(*asked, *head, *rest[-self.carry_tokens :]))
            fresh = max(self.chunk_tokens - self.carry_tokens, 1)
            draft = draft.plus(await run.generate(carried, role="think", max_tokens=fresh))
            run.answer(draft.completion())
        return draft.completion()
