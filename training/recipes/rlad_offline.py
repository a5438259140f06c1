"""RLAD, offline: abstractions are scored by the success of a solver under them, and the useful ones are imitated.

For each problem x the start model samples abstractions z_1 … z_m, k solutions under each, and k solutions without any
(arXiv 2510.02263, section 3; its public code does without online reinforcement of abstractions). z_i is useful where

    mean_j r(y_ij) > mean_j r(y_0j)

and the decoder's filters have not dropped it. The first `gather` steps sample and train nothing; all others take one
step of next-token loss (advantage 1) on the useful abstractions of `batch` problems, and where solutions are trained
too, on one right solution under each, so that a single model forgets neither role.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue

from benchmarks.tasks import Problem
from training.play import Play
from training.recipes import rlad
from training.recipes.rlad import ABSTRACTION, RLAD, groups, guided, successes, worth
from training.reinforce import reinforce
from training.rows import Row


class Config(rlad.Config):
    """Settings of the recipe."""

    output: Path = Path("runs/rlad-offline")
    gather: int = Field(default=10, ge=1)
    """Steps that sample from the start model; the others imitate."""
    trained: Literal["both", "abstractions"] = "both"
    """Whether right solutions under useful abstractions are imitated too."""
    bare: float = 0.2
    """Share of the prompts to solve that have no abstraction."""


PRESETS: dict[str, dict[str, JsonValue]] = {
    "paper": {
        "gather": 24,
        "steps": 72,
        "batch": 128,
        "group": 4,
        "per_abstraction": 16,
        "policies": "two",
        "trained": "abstractions",
        "temperature": 0.7,
        "learning_rate": 1e-5,
        "max_length": 1024,
    },
    "tiny": rlad.PRESETS["tiny"] | {"gather": 125, "steps": 325, "per_abstraction": 4, "bare": 0.12},
}


class Offline(RLAD):
    """One pass of sampling, one of imitation."""

    name: ClassVar[str] = "rlad_offline"
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.useful: dict[str, list[Row]] = {}
        """By the id of a problem, rows to imitate."""

    def problems(self, step: int) -> Sequence[Problem]:
        """New ones as long as the start model samples, then those with useful abstractions."""
        if step < self.config.gather or not self.useful:
            return super().problems(step)
        found = self.rng.sample(list(self.useful), min(self.config.batch, len(self.useful)))
        return [self.pool[name] for name in found]

    async def episode(self, problem: Problem, play: Play) -> Sequence[Row]:
        """Rows to imitate, once there are any; before that they are sampled and kept."""
        if play.step >= self.config.gather and problem.id in self.useful:
            return self.useful[problem.id]
        found = await self._score(problem, play)
        if found:
            self.useful[problem.id] = found
        return [replace(row, advantage=0.0) for row in found]

    async def _score(self, problem: Problem, play: Play) -> list[Row]:
        played = await self.decode(problem, play)
        solved = groups(played)
        bare = solved.get(played.run.prompt("solve", play.task(problem)).digest(), [])
        threshold = fmean(successes(bare, played)) if bare else 0.0
        rows: list[Row] = []
        for step in played.steps("abstract"):
            value = worth(step, solved, played, play)
            under = solved.pop(guided(step.completion.answer, played, play), [])  # once for equal abstractions
            if under and value > threshold:
                rows.append(await play.row(step, 1.0, value, ABSTRACTION))
                right = under[successes(under, played).index(1.0)]
                rows += [await play.row(right, 1.0, 1.0, "solution")] if self.config.trained == "both" else []
        return rows

    def state(self) -> Mapping[str, Any]:
        """The useful abstractions."""
        return {
            name: [[r.prompt, r.completion, r.reward, r.kind, r.policy] for r in rows]
            for name, rows in self.useful.items()
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `state`."""
        for name, rows in state.items():
            kept = [Row(tuple(asked), tuple(said), 1.0, None, None, *rest) for asked, said, *rest in rows]
            self.useful[name] = kept

    def metrics(self) -> Mapping[str, float]:
        """How many problems have useful abstractions."""
        return {"useful": float(len(self.useful))}


def train(config: Config) -> Path:
    """Train, write the checkpoint and return its folder."""
    return reinforce(Offline, config)
