"""Where samples come from. Rule: an engine of the policy is an `Engine` of decoders that can be told of new weights.

A module with a function `start` and its name in `ENGINES` is all that another one takes.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

from decoders.core.engine import Engine
from training.settings import Reinforcement

ENGINES = {"inline": "inline", "vllm": "vllm", "vllm-server": "vllm_server"}
"""The module of this folder for each name that a configuration gives."""


class PolicyEngine(Engine, Protocol):
    """An engine whose weights follow a model in training."""

    exact: bool
    """Whether it computes what the trainer computes, so that its log-probabilities need no correction."""

    async def renew(self) -> None:
        """The model has changed: sample from the new weights from now on, and reuse nothing of the old ones."""


def start(config: Reinforcement, model: Any, name: str) -> PolicyEngine:
    """The engine that `config.engine` names, over the live transformers `model`, known to decoders as `name`."""
    made: PolicyEngine = import_module(f"{__name__}.{ENGINES[config.engine]}").start(config, model, name)
    return made
