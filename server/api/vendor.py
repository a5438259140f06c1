"""What is in no other API's schema and goes under `longthink`: how an answer came about, enough to ask for it again."""

from __future__ import annotations

from typing import Any

from decoders.core.trace import Interaction
from server.report import Report


def longthink(report: Report) -> dict[str, Any]:
    """Decoder with all options and what it has chosen by itself, seed, steps, tokens by role, budget and spending."""
    facts = report.facts()
    return {
        "decoder": facts.decoder,
        "seed": facts.seed,
        "steps": facts.usage.steps,
        "by_role": facts.usage.by_role,
        "budget": {"tokens": facts.budget, "spent": facts.usage.completion_tokens},
        **({"cached": True} if facts.cached else {}),
        **interaction(facts.interaction),
    }


def interaction(counted: Interaction | None) -> dict[str, Any]:
    """An agent's interactions: budget, steps, what is left, answers, why it stopped, reward."""
    return {} if counted is None else {"interaction": {**counted.model_dump(), "left": counted.left}}
