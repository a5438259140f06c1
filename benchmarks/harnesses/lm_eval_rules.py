"""The rules of Countdown for lm-eval: `countdown.yaml` calls them with a line of `countdown.jsonl` and the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from decoders.rewards.countdown import explain


def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """1 where the answer is right."""
    return {"solved": float(explain(doc["numbers"], doc["target"], results[0]) is None)}
