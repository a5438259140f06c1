"""The one interface to tokens: whatever implements `Engine` can serve every decoder."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from decoders.core.messages import Prompt, Sampling, ToolCall

Finish = Literal["stop", "length", "tool_calls"]

Feature = Literal["images", "logprobs", "prefix", "structure", "text", "token_ids", "tool_choice", "tools"]
"""What not every engine can do: images in messages, log-probabilities, continuing a reply that has begun
(`Prompt.prefix`), `Sampling.structure`, `Prompt.text`, ids in (`Prompt.token_ids`) and out, tools that the model may
call (and are in the conversation), a `Prompt.tool_choice` that demands a call."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The log-probability (natural logarithm, before temperature) of a chosen token, with its strongest rivals.

    `id` is -1 where the engine tells only the text.
    """

    id: int
    text: str
    logprob: float
    top: tuple[tuple[int, str, float], ...] = ()

    def confidence(self, rivals: int) -> float:
        """Minus the mean log-probability of the strongest rivals: large where few tokens compete; 0 without any."""
        top = self.top[:rivals]
        return -sum(logprob for _, _, logprob in top) / max(len(top), 1)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of one completion as it is generated.

    `index` tells which of the `n` completions it belongs to. `token_ids` are the tokens this chunk is made of and may
    be there without text (a held-back stop string, half a character). The last chunk of a completion carries `finish`;
    the first one `prompt_tokens` (and how many of those came from a prefix cache), or the last where only that knows.
    `thinking` on the first chunk says that the chat template has already opened the thinking block, so that the text
    begins inside it.

    For engines that are told less: `tokens` counts where there are no ids, and the last chunk's corrects the sum, which
    is exact in the end; `reasoning` is thinking that came separated from the text, `reasoning_tokens` on the last
    chunk its exact size. `tool_calls` come whole, on the last chunk.
    """

    text: str = ""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: Finish | None = None
    index: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    thinking: bool = False
    tokens: int = 0
    reasoning: str = ""
    reasoning_tokens: int | None = None
    tool_calls: tuple[ToolCall, ...] = ()

    @property
    def size(self) -> int:
        """Tokens that this chunk adds to its completion."""
        return len(self.token_ids) or self.tokens


class Engine(Protocol):
    """Turns prompts into tokens.

    Closing the iterator that `generate` returns aborts the call, and every engine frees what the call held within
    100 ms. A completion longer than the context has room for ends there with `length`. Errors: `ContextOverflow` before
    the first chunk when the prompt leaves no room at all, `InvalidRequest` naming the field for what the engine cannot
    do, `EngineUnavailable` when nothing was generated, `EngineError` in the middle.
    """

    model: str
    context_length: int
    """Prompt and completion tokens together, at most."""
    features: frozenset[Feature]
    """What this engine can do beyond chat messages in and text out."""

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


@runtime_checkable
class Tokenizing(Protocol):
    """What an engine may have besides: its tokenizer. The server offers /tokenize and prompt ids where it is there."""

    async def tokenize(self, prompt: Prompt, *, special: bool = False, opened: bool = True) -> tuple[int, ...]:
        """The prompt's ids as `generate` would read them.

        `special` adds what the tokenizer itself puts around a bare text; without `opened` a conversation ends before
        the assistant's turn begins.
        """
        ...

    async def detokenize(self, ids: Sequence[int]) -> str:
        """The text of these ids, special tokens included. Raises `InvalidRequest` for an id that does not exist."""
        ...
