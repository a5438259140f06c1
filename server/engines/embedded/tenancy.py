"""One tenant of an embedded engine as an engine of its own: the same slots and thread, other weights.

Rule: a tenant that is gone is refused at the next call, whoever has deleted it, and what it has at work ends soon.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from collections.abc import Sequence as Ids
from typing import TYPE_CHECKING

from decoders.core.engine import Chunk, Feature
from decoders.core.messages import Prompt, Sampling

if TYPE_CHECKING:
    from server.engines.embedded.engine import EmbeddedEngine


class TenantEngine:
    """`Engine` and `Tokenizing` with the weights of one tenant."""

    def __init__(self, engine: EmbeddedEngine, tenant: str) -> None:
        self._engine, self._tenant = engine, tenant
        self.model = f"{engine.model}@{tenant}"
        self.context_length = engine.context_length
        self.features: frozenset[Feature] = engine.features
        self.defaults: Mapping[str, float | int] = engine.defaults
        self.pack = engine.pack

    @property
    def fingerprint(self) -> str:
        """Changes when the base does, and with every tenant that comes or goes."""
        return f"{self._engine.fingerprint}/{self._engine.version}"

    def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        """See `Engine.generate`; raises `UnknownModel` when the tenant is gone, also in the middle."""
        return self._engine.generate(prompt, sampling, self._tenant)

    async def count(self, prompt: Prompt) -> int:
        """Tokens of the prompt once the chat template is applied."""
        return await self._engine.count(prompt)

    async def tokenize(self, prompt: Prompt, *, special: bool = False, opened: bool = True) -> tuple[int, ...]:
        """The prompt's ids; see `Tokenizing`."""
        return await self._engine.tokenize(prompt, special=special, opened=opened)

    async def detokenize(self, ids: Ids[int]) -> str:
        """The text of these ids."""
        return await self._engine.detokenize(ids)

    async def ready(self) -> bool:
        """Whether calls are answered now."""
        return await self._engine.ready()

    async def aclose(self) -> None:
        """The engine is closed by whoever has it."""
