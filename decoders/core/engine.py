"""The one interface to tokens: whatever implements `Engine` can serve every decoder."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal, Protocol

from decoders.core.messages import Prompt, Sampling

Finish = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The log-probability (natural logarithm, before temperature) of a chosen token, with its strongest rivals."""

    id: int
    text: str
    logprob: float
    top: tuple[tuple[int, str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of one completion as it is generated.

    `index` tells which of the `n` completions it belongs to. `token_ids` are the tokens this chunk is made of and may
    be there without text (a held-back stop string, half a character). The last chunk of a completion carries `finish`;
    the first one `prompt_tokens` (and how many of those came from a prefix cache). `thinking` on the first chunk says
    that the chat template has already opened the thinking block, so that the text begins inside it.
    """

    text: str = ""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: Finish | None = None
    index: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    thinking: bool = False


class Engine(Protocol):
    """Turns prompts into tokens.

    Closing the iterator that `generate` returns aborts the call, and every engine frees what the call held within
    100 ms. A completion longer than the context has room for ends there with `length`. Errors: `ContextOverflow` before
    the first chunk when the prompt leaves no room at all, `EngineUnavailable` when nothing was generated,
    `EngineError` in the middle.
    """

    model: str
    context_length: int
    """Prompt and completion tokens together, at most."""

    def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        """The chunks of `sampling.n` completions, interleaved as they come."""
        ...

    async def count(self, prompt: Prompt) -> int:
        """How many tokens the prompt has once the chat template is applied."""
        ...

    async def ready(self) -> bool:
        """Whether calls are answered now."""
        ...

    async def aclose(self) -> None:
        """Abort what runs and free everything; the engine takes no calls afterwards."""
        ...
