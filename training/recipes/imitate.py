"""Imitate traces: next-token loss on right replies to hard problems, the usual start before reinforcement (SFT + RL).

-Σ_t log p(y_t | x, y_<t), each token of y worth the same, for y the replies of `traces`, which `longthink traces`
makes. Replies that are to be continued, and so end without an end token, are imitated as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from benchmarks.tasks import Problem
from training import traces
from training.guidance import words
from training.play import Play
from training.recipe import Recipe
from training.reinforce import reinforce
from training.rows import Row
from training.settings import Reinforcement


class Config(Reinforcement):
    """Settings of the recipe; `group` and `temperature` mean nothing here."""

    output: Path = Path("runs/imitate")
    """Folder of the run."""
    traces: Path = Path("runs/traces.jsonl")
    """Problems with solutions, from `longthink traces`; those of training problems are imitated."""


PRESETS: dict[str, dict[str, JsonValue]] = {"tiny": {"steps": 20, "batch": 32, "learning_rate": 2e-4, "warmup": 2}}


class Imitate(Recipe[Config]):
    """One reply for each problem of a batch."""

    name = "imitate"
    paper = "none: supervised fine-tuning"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        found = [pair for pair in traces.read(config.traces) if pair[1].split == "train" and pair[1].reply]
        self._problems = [problem for problem, _ in found]
        self._solutions = {problem.id: solution for problem, solution in found}
        if not found:
            raise ValueError(f"{config.traces} has no replies to training problems")

    def problems(self, step: int) -> Sequence[Problem]:
        """Drawn evenly."""
        return self.rng.sample(self._problems, min(self.config.batch, len(self._problems)))

    async def episode(self, problem: Problem, play: Play) -> Sequence[Row]:
        """The reply behind the prompt that asks for it."""
        prompt = await play.tokenize(play.run(1).prompt("solve", play.task(problem)))
        return [Row(prompt, await traces.ids(self._solutions[problem.id], words(play)), 1.0, kind="imitated")]


def train(config: Config) -> Path:
    """Train, write the checkpoint and return its folder."""
    return reinforce(Imitate, config)
