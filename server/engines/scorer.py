"""A linear scorer as a model: it marks the last answer of a conversation, so that any decoder can have it as a judge.

Rule: it generates one thing, a mark from 0 to 1 of one token, which depends on the conversation alone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

from decoders.core.engine import Chunk, Feature
from decoders.core.errors import EngineUnavailable, InvalidRequest
from decoders.core.messages import Prompt, Sampling
from decoders.rewards.scorer import read
from server.engines.limits import check


class ScorerEngine:
    """Speaks for the scorer in a file; a word is a token."""

    context_length = 1_048_576
    features: frozenset[Feature] = frozenset()
    pack = "scorer"

    def __init__(self, file: Path, *, model: str) -> None:
        self.model = model
        self._scorer = read(file)
        self._closed = False

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        """The mark of the last answer, `n` times. Raises `InvalidRequest` for a conversation that ends otherwise."""
        if self._closed:
            raise EngineUnavailable(f"{self.model} is closed")
        check(sampling)
        question = next((m.content for m in reversed(prompt.messages) if m.role == "user"), None)
        if question is None or prompt.messages[-1].role != "assistant":
            message = f"{self.model} only marks answers: the conversation has to end with the assistant's turn"
            raise InvalidRequest(message, param="messages")
        mark = f"{self._scorer.mark(question, prompt.messages[-1].content):.6f}"
        size = await self.count(prompt)
        for index in range(sampling.n):
            yield Chunk(mark, finish="stop", index=index, prompt_tokens=size, tokens=1)

    async def count(self, prompt: Prompt) -> int:
        """Words of the conversation."""
        return sum(len(message.content.split()) for message in prompt.messages)

    async def ready(self) -> bool:
        """True until it is closed."""
        return not self._closed

    async def aclose(self) -> None:
        """Refuse further calls."""
        self._closed = True
