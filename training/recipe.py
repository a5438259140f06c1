"""What a recipe is: which problems it draws, and how an episode on one of them becomes rows.

Rule: a recipe runs served decoders through `Play` and says what each sampled token is worth. It knows nothing of
optimisers, devices or checkpoints. One file in `training/recipes/` with a subclass, its `Config` and `PRESETS` is all.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from benchmarks.tasks import Problem
from training.play import POLICY, Play
from training.rows import Row
from training.settings import Reinforcement

C = TypeVar("C", bound=Reinforcement)


class Recipe(ABC, Generic[C]):
    """One optimiser step: `problems(step)`, `episode` on all of them side by side, and the loss of `replay`'s rows.

    `rng` is the recipe's only source of chance. `state` and `restore` carry what else it remembers (buffers, measured
    success) through a checkpoint, as JSON; a run that was killed then goes on as if nothing had happened.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    """Where the recipe comes from."""

    def __init__(self, config: C) -> None:
        self.config = config
        self.rng = random.Random(f"{self.name}/{config.seed}")

    @abstractmethod
    def problems(self, step: int) -> Sequence[Problem]:
        """The problems of a step, 0 is the first."""

    @abstractmethod
    async def episode(self, problem: Problem, play: Play) -> Sequence[Row]:
        """What is sampled for one problem, as rows."""

    def cast(self) -> Mapping[str, str]:
        """By the name under which decoders reach a model, the policy that plays it, whose name its rows have.

        Every policy but `POLICY` is a model of its own, with a trainer of its own; all start alike.
        """
        return {POLICY: POLICY}

    def replay(self, sampled: Sequence[Row]) -> Sequence[Row]:
        """What a step trains, from the rows of its episodes in the order of the problems: by default all of them.

        Here a recipe remembers rows and brings older ones back. It is called once a step.
        """
        return sampled

    def state(self) -> Mapping[str, Any]:
        """What a checkpoint must hold besides `rng`."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""

    def metrics(self) -> Mapping[str, float]:
        """What to write beside the core's metrics at this step."""
        return {}
