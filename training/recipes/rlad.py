"""RLAD: two roles are reinforced together, one that proposes abstractions and one that solves under them.

For each problem x the served decoder `rlad` samples abstractions z_1 … z_m ~ π_abs(· | x) and, under each, solutions
y_i1 … y_ik ~ π_sol(· | x, z_i) (arXiv 2510.02263, section 3). With r(y) = 1 for a right answer, else 0,

    reward of z_i   r_abs(x, z_i) = mean_j r(y_ij)    in a group of the m abstractions of one problem
    reward of y_ij  r(y_ij)                           in a group of the k solutions of one prompt

About one prompt in eight is bare, without an abstraction, and its solutions are worth 0: the KL term alone holds them.
An abstraction that the decoder drops, since it gives an answer away or is too short, is worth 0 too. Both roles are
played by one model, or by two (`policies`); `trained` is the paper's stages, abstractions first and then solutions, or
both at once. The offline form is the recipe `rlad_offline`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue

from benchmarks import tasks
from benchmarks.tasks import Problem
from decoders.core.trace import Step
from training.play import POLICY, Play, Played
from training.recipe import Recipe
from training.reinforce import reinforce
from training.rows import ADVANTAGES, Row
from training.settings import Reinforcement

ABSTRACTION = "abstraction"
"""The name under which the decoder reaches the one who writes abstractions."""


class Config(Reinforcement):
    """Settings of the recipe. `group` is how many abstractions a problem has: m."""

    output: Path = Path("runs/rlad")
    task: str = "sequences"
    """Where problems come from, those of its training split."""
    levels: tuple[str, ...] = ("hard",)
    """Of the task, drawn from evenly."""
    pool: int = Field(default=5000, ge=1)
    """Different problems of each level."""
    per_abstraction: int = Field(default=4, ge=1)
    """Solutions under each abstraction: k."""
    policies: Literal["shared", "two"] = "shared"
    """One model for both roles, or two from the same weights, which with `rank` are two adapters over them."""
    trained: Literal["both", "abstractions", "solutions", "plain"] = "both"
    """Which role. `plain` is the control: a group are m·k solutions without abstractions, rewarded like any."""
    bare: float = Field(default=0.125, ge=0, lt=1)
    """Share of the prompts to solve that have no abstraction."""
    abstraction_tokens: int = Field(default=1024, ge=1)
    """Tokens of one abstraction at most."""
    solution_tokens: int = Field(default=16384, ge=1)
    """Tokens of one solution at most."""
    shortest: int = Field(default=40, ge=1)
    """Abstractions of fewer characters are worth nothing."""


PRESETS: dict[str, dict[str, JsonValue]] = {
    "paper": {
        "steps": 150,
        "batch": 32,
        "group": 4,
        "per_abstraction": 4,
        "policies": "two",
        "temperature": 0.6,
        "learning_rate": 1e-6,
        "updates": 4,
        "max_length": 16384,
        "loss": {"clip_low": 0.2, "clip_high": 0.5, "kl": 0.001, "entropy": 0.001},
    },
    "tiny": {
        "model": "runs/longthink-tiny-sequences",
        "steps": 250,
        "batch": 16,
        "group": 8,
        "per_abstraction": 2,
        "learning_rate": 3e-4,
        "abstraction_tokens": 10,
        "solution_tokens": 8,
        "shortest": 1,
        "max_length": 10,
        "loss": {"idle": "drop"},
    },
}


class RLAD(Recipe[Config]):
    """π_abs is paid by the mean success of π_sol, and π_sol by its own."""

    name: ClassVar[str] = "rlad"
    paper: ClassVar[str] = "RLAD, arXiv 2510.02263, section 3"

    def cast(self) -> Mapping[str, str]:
        """The solver is the policy; abstractions come from it too, or from a second one."""
        return {POLICY: POLICY, ABSTRACTION: POLICY if self.config.policies == "shared" else ABSTRACTION}

    def problems(self, step: int) -> Sequence[Problem]:
        """Drawn evenly."""
        return self.rng.sample(list(self.pool.values()), self.config.batch)

    @cached_property
    def pool(self) -> dict[str, Problem]:
        """All problems by their ids."""
        draw, size = tasks.load(self.config.task).problems, self.config.pool
        return {problem.id: problem for level in self.config.levels for problem in draw(level, "train", size)}

    async def episode(self, problem: Problem, play: Play) -> Sequence[Row]:
        """One decoding, and its steps as rows of the roles that are trained."""
        played = await self.decode(problem, play)
        solved = groups(played)
        rows = [row for prompt in solved for row in await self._solutions(prompt, solved[prompt], played, play)]
        return rows + await self._abstractions(solved, played, play)

    async def decode(self, problem: Problem, play: Play) -> Played:
        """Abstractions, the solutions under each of them, and bare ones, with a purse that holds all."""
        config, options = self.config, self._options()
        solutions = config.group * config.per_abstraction + int(options["plain"])
        purse = config.group * config.abstraction_tokens + solutions * config.solution_tokens
        return await play.decode(problem, play.decoder(options), purse)

    def _options(self) -> dict[str, Any]:
        """Of a request that decodes as the recipe wants it; bare prompts come one at a time, so chance rounds them."""
        config, guided = self.config, self.config.trained != "plain"
        wanted = config.group * config.bare / (1 - config.bare)
        bare = config.per_abstraction * (int(wanted) + (self.rng.random() < wanted % 1))
        return {
            "name": "rlad",
            "abstractions": config.group if guided else 0,
            "per_abstraction": config.per_abstraction,
            "plain": bare if guided else config.group * config.per_abstraction,
            "abstraction_tokens": config.abstraction_tokens,
            "max_tokens": config.solution_tokens,
            "least_tokens": config.solution_tokens,
            "shortest": config.shortest,
            "abstraction_model": ABSTRACTION,
        }

    async def _abstractions(self, solved: Mapping[str, list[Step]], played: Played, play: Play) -> list[Row]:
        """The group of a problem's abstractions, each worth the mean success of the solutions under it."""
        steps = played.steps("abstract")
        if not steps or self.config.trained == "solutions":
            return []
        rewards = [worth(step, solved, played, play) for step in steps]
        return await play.rows(steps, ADVANTAGES[self.config.loss.advantage](rewards), rewards, ABSTRACTION)

    async def _solutions(self, prompt: str, steps: list[Step], played: Played, play: Play) -> list[Row]:
        """The solutions of one prompt. Those without an abstraction are shown in the metrics, and not rewarded."""
        stage, rewards = self.config.trained, successes(steps, played)
        if stage == "abstractions":
            return []
        bare = prompt == played.run.prompt("solve", play.task(played.problem)).digest()
        if bare and stage != "plain":
            return await play.rows(steps, [0.0] * len(steps), rewards, "bare")
        return await play.rows(steps, ADVANTAGES[self.config.loss.advantage](rewards), rewards, "solution")


def groups(played: Played) -> dict[str, list[Step]]:
    """All solutions, by the digest of their prompt."""
    found: dict[str, list[Step]] = {}
    for step in played.steps("solve"):
        found.setdefault(step.prompt, []).append(step)
    return found


def guided(abstraction: str, played: Played, play: Play) -> str:
    """The digest of the prompt that the decoder makes of an abstraction."""
    task, text = play.task(played.problem), abstraction.strip()
    return played.run.prompt("solve_with_abstraction", task, abstraction=text).digest()


def worth(abstraction: Step, solved: Mapping[str, list[Step]], played: Played, play: Play) -> float:
    """The mean success under an abstraction; 0 for one that was dropped, or is itself the right answer."""
    text = abstraction.completion.answer
    under = solved.get(guided(text, played, play), [])
    return fmean(successes(under, played)) if under and not played.problem.check(text) else 0.0


def successes(steps: Sequence[Step], played: Played) -> list[float]:
    """1 for each solution whose answer is right, 0 for others."""
    return [float(played.problem.check(step.completion.answer)) for step in steps]


def train(config: Config) -> Path:
    """Train, write the checkpoint and return its folder."""
    return reinforce(RLAD, config)
