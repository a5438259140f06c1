"""From what a request says about its size to one purse of tokens. Rule: everything generated counts, prompts do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from decoders.core.errors import InvalidRequest

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

SHARES: Mapping[Effort, float] = {
    "none": 1 / 64,
    "minimal": 1 / 32,
    "low": 1 / 8,
    "medium": 1 / 4,
    "high": 1 / 2,
    "xhigh": 3 / 4,
    "max": 1.0,
}
"""The share of the server's `max_budget` that each `reasoning_effort` stands for."""


def purse(
    max_budget: int,
    *,
    tokens: int | None,
    tokens_param: str,
    effort: Effort | None,
    cap: int | None,
    default: Effort,
) -> int:
    """Tokens that a request may have generated: the smallest of all limits it sets.

    `tokens` is an explicit limit and must be one the server grants; an effort is a share of `max_budget`; `cap` is
    `thinking_token_budget`. The `default` effort counts only where there is neither tokens nor effort.
    """
    if tokens is not None and tokens > max_budget:
        message = f"{tokens_param} asks for {tokens} tokens in all: this server grants at most {max_budget}"
        raise InvalidRequest(message, param=tokens_param)
    if effort is None and tokens is None:
        effort = default
    limits = [max_budget if tokens is None else tokens]
    if effort is not None:
        limits.append(max(int(max_budget * SHARES[effort]), 1))
    if cap is not None:
        limits.append(cap)
    return min(limits)
