"""What no engine can do, refused with the same words by all engines that know their tokens."""

from __future__ import annotations

from decoders.core.errors import ContextOverflow, InvalidRequest
from decoders.core.messages import Sampling


def check(sampling: Sampling) -> None:
    """Raises `InvalidRequest` naming the field that cannot be."""
    wrong = {
        "max_tokens": sampling.max_tokens < 1,
        "n": sampling.n < 1,
        "temperature": not 0.0 <= sampling.temperature < float("inf"),
        "top_p": not 0.0 < sampling.top_p <= 1.0,
        "top_k": sampling.top_k < -1,
        "min_p": not 0.0 <= sampling.min_p <= 1.0,
        "logprobs": sampling.logprobs is not None and sampling.logprobs < 0,
    }
    for name, bad in wrong.items():
        if bad:
            raise InvalidRequest(f"{name} cannot be {getattr(sampling, name)}", param=name)


def room(context_length: int, prompt_tokens: int, wanted: int) -> int:
    """Completion tokens that fit, at most those wanted. Raises `ContextOverflow` where none does."""
    left = context_length - prompt_tokens
    if left < 1:
        raise ContextOverflow(
            f"{prompt_tokens} prompt tokens leave no room for any of the {wanted} completion tokens in the "
            f"context of {context_length}",
            param="messages",
        )
    return min(wanted, left)
