"""Plain GRPO (arXiv 2402.03300) with the decoder `direct`: the standard reinforcement that the papers compare with.

For each problem x a group of K samples y_i ~ p(· | x) of at most B tokens; r_i = 1 for a right answer, else 0;
A_i = (r_i - mean r) / (std r + ε).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from benchmarks import tasks
from benchmarks.tasks import Problem
from training.play import Play, grade
from training.recipe import Recipe
from training.reinforce import reinforce
from training.rows import ADVANTAGES, Row
from training.settings import Reinforcement


class Config(Reinforcement):
    """Settings of the recipe."""

    output: Path = Path("runs/grpo")
    """Folder of the run."""
    task: str = "countdown"
    """Where problems come from."""
    levels: tuple[str, ...] = ("medium",)
    """Drawn from evenly."""
    pool: int = 2000
    """How many of each level."""
    max_tokens: int = 160
    """Tokens of a sample at most, B."""
    wrong: float = 0.0
    """Reward of an answer that is wrong; what is right has 1, what came to no answer 0."""


PRESETS: dict[str, dict[str, JsonValue]] = {
    "paper": {"batch": 64, "group": 8, "max_tokens": 16384, "max_length": 16384, "learning_rate": 1e-6},
    "tiny": {},
}


class Grpo(Recipe[Config]):
    """A group of samples for each problem."""

    name = "grpo"
    paper = "GRPO, arXiv 2402.03300"

    def problems(self, step: int) -> Sequence[Problem]:
        """Drawn evenly from the training split."""
        config = self.config
        pool = [p for level in config.levels for p in tasks.problems(config.task, level, "train", config.pool)]
        return self.rng.sample(pool, config.batch)

    async def episode(self, problem: Problem, play: Play) -> Sequence[Row]:
        """K samples through the decoder's own prompt."""
        config = self.config
        run = play.run(config.group * config.max_tokens)
        prompt = run.prompt("solve", play.task(problem))
        done = await play.drive(
            run, lambda run: run.sample(prompt, config.group, role="solve", max_tokens=config.max_tokens)
        )
        rewards = [grade(problem, completion, config.wrong) for completion in done or []]
        steps = sorted(run.trace.steps, key=lambda step: int(step.key.rpartition(".")[2]))
        return await play.rows(steps, ADVANTAGES[config.loss.advantage](rewards), rewards) if rewards else []


def train(config: Config) -> Path:
    """Train, write the checkpoint and return its folder."""
    return reinforce(Grpo, config)
