"""PrefixRL (arXiv 2601.18795): reinforce from the beginnings of traces that were paid for already.

1. For each hard x a right trace y: found by rejection sampling or by a decoder that solves what one sample does not
   (`longthink traces collect`), or among what a server has answered (`longthink traces export`).
2. Three places in 40 % to 80 % of y's tokens are drawn once. The beginning of y up to there is an unfinished reply: the
   policy continues it, as it would its own.
3. Train on three prefixed copies to a plain one. J = Σ_prefixed E r + Σ_plain E r: K samples of either prompt are a
   group, r = 1 for a right final answer, else 0; A = r - mean r. The loss is about new tokens alone.
4. Only plain problems are measured. Gains carry over to them (back-generalisation), even where none is trained on:
   `guidance.plain=0`.

`guidance.low=0`, `high=1` and `refresh=1` draw a new cut anywhere at every visit.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from training.guidance import Guided, GuidedConfig
from training.reinforce import reinforce


class Config(GuidedConfig):
    """Settings of the recipe."""

    output: Path = Path("runs/prefixrl")
    """Folder of the run."""


PRESETS: dict[str, dict[str, JsonValue]] = {
    "paper": {
        "steps": 400,
        "batch": 128,
        "group": 8,
        "max_tokens": 16384,
        "max_length": 16384,
        "learning_rate": 1e-6,
        "loss": {"advantage": "centred", "mean": "constant"},
    },
    "tiny": {
        "steps": 60,
        "batch": 12,
        "group": 8,
        "max_tokens": 128,
        "max_length": 128,
        "learning_rate": 3e-4,
        "loss": {"advantage": "centred", "mean": "constant"},
    },
}


class PrefixRL(Guided[Config]):
    """See the module."""

    name = "prefixrl"
    paper = "PrefixRL, arXiv 2601.18795"


def train(config: Config) -> Path:
    """Train, write the checkpoint and return its folder."""
    return reinforce(PrefixRL, config)
