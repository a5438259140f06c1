"""What goes into an engine: chat messages, prompts, sampling parameters. All of it frozen."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "developer", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an engine completes: messages, optionally with the beginning of the reply, or exact token ids.

    `prefix` is text the assistant's turn already starts with; the completion continues it and does not repeat it.
    `token_ids` replaces the other two: training needs ids, because re-tokenising decoded text can change them.
    """

    messages: tuple[Message, ...] = ()
    prefix: str = ""
    token_ids: tuple[int, ...] | None = None

    def digest(self) -> str:
        """A short fingerprint, by which a replayed step proves that it answers this prompt."""
        pieces = [[m.role, m.content] for m in self.messages]
        text = json.dumps([pieces, self.prefix, self.token_ids], ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw a completion; every field has the meaning that it has in the OpenAI and vLLM APIs.

    With `n` completions of one prompt, completion i is drawn with `seed + i`. `logprobs` is None (none wanted) or the
    number of alternatives wanted beside each chosen token.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: int | None = None
    n: int = 1
