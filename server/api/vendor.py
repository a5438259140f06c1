"""What is in no other API's schema and goes under `longthink`: how an answer came about, enough to ask for it again."""

from __future__ import annotations

from typing import Any

from server.generation import Generation


def longthink(generation: Generation) -> dict[str, Any]:
    """Decoder with all options and what it has chosen by itself, seed, steps, tokens by role, budget and spending."""
    order, usage = generation.order, generation.usage()
    return {
        "decoder": generation.decoder,
        "seed": order.seed,
        "steps": usage.steps,
        "by_role": usage.by_role,
        "budget": {"tokens": order.budget, "spent": usage.completion_tokens},
    }
