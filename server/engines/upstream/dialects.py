"""What servers understand beyond OpenAI's API, as one table. Rule: a difference between servers is a row here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from decoders.core.engine import Feature

_CHAT: frozenset[Feature] = frozenset({"images", "logprobs", "structure", "tool_choice", "tools"})
_COMPLETIONS: frozenset[Feature] = frozenset({"text"})
_PREFIX: frozenset[Feature] = frozenset({"prefix"})


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind of server. The defaults are those of OpenAI's API and of a server about which nothing is known."""

    name: str
    features: frozenset[Feature] = _CHAT | _COMPLETIONS
    limit: str = "max_tokens"
    """The field that limits a completion."""
    seed: str | None = "seed"
    """The field of the seed; None where there is none."""
    no_top_k: int | None = None
    """The `top_k` that considers all tokens; None where the server does not know top_k and min_p."""
    defaults_of_one: bool = False
    """Whether temperature and top_p are 1 unless a call says otherwise; elsewhere the checkpoint may have others. Some
    of OpenAI's models refuse these fields, whatever their value."""
    priority: bool = False
    """Whether calls can carry a priority."""
    several: bool = False
    """Whether `n` completions of one call are counted one by one; elsewhere they are `n` calls."""
    ids_in: bool = False
    """Whether a prompt can be token ids."""
    open_end: bool = False
    """Whether a chat without a limit goes on to the end of the context."""
    continuing: Mapping[str, Any] = field(default_factory=dict)
    """Fields of a chat whose last message is to be continued."""
    continued: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the message that is to be continued."""
    stream_options: Mapping[str, Any] | None = field(default_factory=lambda: {"include_usage": True})
    """What makes a stream tell its token counts; None where it always does."""
    always: Mapping[str, Any] = field(default_factory=dict)
    """Fields of every call."""
    health: str = "/health"
    """Where the server tells whether it takes calls."""
    tokenizing: Literal["messages", "template"] | None = None
    """How `/tokenize` reads a chat: given the messages, or the text that `/apply-template` makes of them."""


DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        Dialect("openai", limit="max_completion_tokens", defaults_of_one=True, ids_in=True),
        Dialect(
            "vllm",
            features=_CHAT | _COMPLETIONS | _PREFIX | {"token_ids"},
            no_top_k=-1,
            priority=True,
            several=True,
            ids_in=True,
            open_end=True,
            continuing={"continue_final_message": True, "add_generation_prompt": False},
            stream_options={"include_usage": True, "continuous_usage_stats": True},
            always={"return_token_ids": True},
            tokenizing="messages",
        ),
        Dialect(
            "sglang",
            features=_CHAT | _COMPLETIONS | _PREFIX,
            no_top_k=-1,
            priority=True,
            ids_in=True,
            open_end=True,
            continuing={"continue_final_message": True, "add_generation_prompt": False},
        ),
        Dialect(
            "llamacpp",
            features=_CHAT | _COMPLETIONS | _PREFIX,
            no_top_k=0,
            ids_in=True,
            open_end=True,
            tokenizing="template",
        ),
        Dialect(
            "longthink",
            features=_CHAT | _COMPLETIONS | _PREFIX,
            limit="max_completion_tokens",
            no_top_k=-1,
            ids_in=True,
            continuing={"continue_final_message": True},
            health="/ready",
            tokenizing="messages",
        ),
        Dialect(
            "deepseek",
            features=frozenset({"logprobs", "tool_choice", "tools", "prefix"}),
            seed=None,
            continued={"prefix": True},
        ),
        Dialect(
            "mistral",
            features=frozenset({"images", "prefix", "structure", "tool_choice", "tools"}),
            seed="random_seed",
            continued={"prefix": True},
            stream_options=None,
        ),
    )
}

_OWNERS = {"mistralai": "mistral", "llama.cpp": "llamacpp"}


def detect(owner: str) -> Dialect:
    """The dialect of a server whose models say that they are `owned_by` this owner."""
    return DIALECTS.get(_OWNERS.get(owner, owner), DIALECTS["openai"])
