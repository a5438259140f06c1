"""What all engines have in common that keep a copy of the policy: they start late and are told of every change."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from decoders.core.engine import Chunk, Engine, Feature, Tokenizing
from decoders.core.errors import EngineUnavailable
from decoders.core.messages import Prompt, Sampling


class FollowingEngine(ABC):
    """Passes calls on to an engine that `open` makes in the event loop that samples, before the first call."""

    exact = False

    def __init__(self, model: str) -> None:
        self.model = model
        self.context_length = 0
        self.features: frozenset[Feature] = frozenset()
        self._inner: Engine | None = None

    @abstractmethod
    async def open(self) -> Engine:
        """The engine that samples."""

    @abstractmethod
    async def push(self) -> None:
        """Give it the policy's weights, and take away what it computed with older ones."""

    async def renew(self) -> None:
        """The policy has changed; the first call of all starts the engine."""
        if self._inner is None:
            self._inner = await self.open()
            self.context_length, self.features = self._inner.context_length, self._inner.features
        await self.push()

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        """See `Engine.generate`."""
        async with aclosing(self._opened().generate(prompt, sampling)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def count(self, prompt: Prompt) -> int:
        """See `Engine.count`."""
        return await self._opened().count(prompt)

    async def tokenize(self, prompt: Prompt, *, special: bool = False, opened: bool = True) -> tuple[int, ...]:
        """See `Tokenizing.tokenize`."""
        return await self._tokenizing().tokenize(prompt, special=special, opened=opened)

    async def detokenize(self, ids: Sequence[int]) -> str:
        """See `Tokenizing.detokenize`."""
        return await self._tokenizing().detokenize(ids)

    async def ready(self) -> bool:
        """Whether calls are answered now."""
        return self._inner is not None and await self._inner.ready()

    async def aclose(self) -> None:
        """Close the engine, where it was ever opened."""
        inner, self._inner = self._inner, None
        if inner is not None:
            await inner.aclose()

    def _opened(self) -> Engine:
        if self._inner is None:
            raise EngineUnavailable(f"{self.model} has no weights yet: `renew` comes before the first call")
        return self._inner

    def _tokenizing(self) -> Tokenizing:
        inner = self._opened()
        assert isinstance(inner, Tokenizing)
        return inner
