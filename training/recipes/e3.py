"""e3 (arXiv 2506.09026): reinforce long chains of guess, check, guess again, so that more tokens go on paying.

The model must verify better than it generates. Then, stage by stage, data D_i and a budget B_i that fit each other:
y_1 .. y_K ~ p(· | x) of at most B_i tokens, x from D_i, with the decoder `e3` as it is served;
r_k = 1 for a right answer that ends within B_i, else 0, cut ones among them;  A_k = r_k - mean r, also over std r;
the clipped GRPO loss with wrong chains kept: they make the end after a wrong attempt less likely, and so chains longer
(section 5). B_i is given or measured when the stage begins: the smallest B with J(2B) <= κ J(B), not below the mean
length, J(B) the success of chains cut at B (equation 6.1). Easy data at a short budget comes first (section 6).
Expected: `longthink train e3 --preset tiny` takes under two minutes of one CPU core. Of ten hard held-out problems the
start solves one at any budget, and the model that comes of it four to five in 256 tokens, over seven in 1,024.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, JsonValue

from benchmarks import tasks
from benchmarks.tasks import Problem
from training.curriculum import Stage, smallest_budget, stage_at
from training.play import Play
from training.recipe import Recipe
from training.reinforce import reinforce
from training.rows import ADVANTAGES, Row
from training.settings import Reinforcement

STAGES = (
    Stage(steps=60, levels={"easy": 1}, budget=64),
    Stage(steps=60, levels={"medium": 1, "hard": 1}, budget=256),
)


class Config(Reinforcement):
    """Settings of the recipe."""

    output: Path = Path("runs/e3")
    """Folder of the run."""
    task: str = "residues"
    """Where problems come from."""
    pool: int = Field(default=480, ge=1)
    """Training problems of each level to draw from."""
    decoder: dict[str, JsonValue] = Field(default={"name": "e3", "mode": "chain"})
    """As in a request."""
    stages: tuple[Stage, ...] = Field(default=STAGES, min_length=1)
    """The curriculum; the last stage goes on until `steps`."""
    tokens: int | None = Field(default=None, ge=1)
    """Instead of `batch` problems, as many as take about so many tokens, prompts included, by the lengths of the step
    before: so steps cost the same whatever the lengths."""
    kappa: float = Field(default=1.2, ge=1)
    """With `budget = "rule"`: stop where doubling the budget gains less than this factor."""
    budgets: tuple[int, ...] = (32, 64, 128, 256, 512)
    """With `budget = "rule"`: what is measured, each twice the one before."""
    probes: int = Field(default=64, ge=1)
    """With `budget = "rule"`: problems that are measured, `group` chains each."""


PRESETS: dict[str, dict[str, JsonValue]] = {
    "paper": {
        "task": "deepscaler",
        "pool": 10000,
        "stages": [{"steps": 100, "levels": {"1": 1}, "budget": 8192}],
        "steps": 100,
        "batch": 128,
        "updates": 4,
        "group": 8,
        "temperature": 0.6,
        "learning_rate": 1e-6,
        "max_length": 8192,
        "loss": {"clip_low": 0.2, "clip_high": 0.5, "kl": 0.001, "entropy": 0.002},
    },
    "paper-16k": {
        "model": "runs/e3",
        "output": "runs/e3-16k",
        "task": "deepscaler",
        "pool": 10000,
        "stages": [{"steps": 100, "levels": {"2-3": 1}, "budget": 16384}],
        "steps": 100,
        "batch": 64,
        "updates": 2,
        "group": 32,
        "temperature": 0.6,
        "learning_rate": 1e-6,
        "max_length": 16384,
        "loss": {"clip_low": 0.2, "clip_high": 0.35, "kl": 0.001, "entropy": 0.001},
    },
    "tiny": {
        "model": "runs/longthink-residues",
        "steps": 120,
        "tokens": 5000,
        "learning_rate": 3e-4,
        "loss": {"clip_high": 0.5, "entropy": 0.002},
    },
}
"""The paper's second stage has other settings of the loss: `paper-16k` is a run of its own, from the model of `paper`.

Both want a copy, `task=deepscaler:FILE`, whose `difficulty` is the third by a strong model's success: 1, 2 or 3.
"""


class E3(Recipe[Config]):
    """A group of chains for each problem, at the budget of the stage."""

    name = "e3"
    paper = "e3, arXiv 2506.09026"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._pools: dict[str, Sequence[Problem]] = {}
        self._budgets: dict[int, int] = {}
        self._stage = 0
        self._spent: list[int] = []
        self._sums: Counter[str] = Counter()
        self._found: list[int | None] = []

    @property
    def _budget(self) -> int | None:
        """Tokens of a chain, None as long as the rule has not been asked."""
        fixed = self.config.stages[self._stage].budget
        return self._budgets.get(self._stage) if fixed == "rule" else fixed

    def problems(self, step: int) -> Sequence[Problem]:
        """Drawn from the levels of the stage by their weights."""
        config = self.config
        self._settle()
        self._stage = stage_at(config.stages, step)
        levels = config.stages[self._stage].levels
        count = config.probes if self._budget is None else self._count()
        self._spent.clear()
        self._sums.clear()
        drawn = self.rng.choices(list(levels), list(levels.values()), k=count)
        return [self.rng.choice(self._pool(level)) for level in drawn]

    async def episode(self, problem: Problem, play: Play) -> Sequence[Row]:
        """K chains; those that measure the budget are not learned from."""
        config = self.config
        budget = self._budget or max(config.budgets)
        decoder = play.decoder(config.decoder)
        chains = [play.within(str(k)).decode(problem, decoder, budget) for k in range(config.group)]
        played = await asyncio.gather(*chains)
        steps = [step for one in played for step in one.steps("solve")]
        rewards = [float(one.correct and one.answer is not None and one.answer.answered) for one in played]
        sizes = [step.completion.completion_tokens for step in steps]
        if self._budget is None:
            self._found += [size if reward else None for size, reward in zip(sizes, rewards, strict=True)]
            self._spent += sizes
            return await play.rows(steps, [0.0] * len(steps), rewards, "probe")
        rows = await play.rows(steps, ADVANTAGES[config.loss.advantage](rewards), rewards)
        self._spent += [len(row.prompt) + len(row.completion) for row in rows]
        self._sums["cut"] += sum(step.completion.finish == "length" for step in steps)
        return rows

    def metrics(self) -> Mapping[str, float]:
        """Where the curriculum is, and the share of chains that the budget cut."""
        return {
            "stage": self._stage,
            "budget": self._budget or max(self.config.budgets),
            "cut": self._sums["cut"] / max(len(self._spent), 1),
        }

    def state(self) -> Mapping[str, Any]:
        """Budgets that were measured, measurements not yet used, and what the last step spent."""
        budgets = {str(place): budget for place, budget in self._budgets.items()}
        return {"budgets": budgets, "stage": self._stage, "found": self._found, "spent": self._spent}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The same, read back."""
        self._budgets = {int(place): budget for place, budget in state["budgets"].items()}
        self._stage, self._found, self._spent = state["stage"], list(state["found"]), list(state["spent"])

    def _settle(self) -> None:
        """Ask the rule, where the last step measured."""
        if self._found:
            lengths = [size or 10**9 for size in self._found]
            success = {budget: sum(n <= budget for n in lengths) / len(lengths) for budget in self.config.budgets}
            mean = sum(self._spent) / len(self._spent)
            self._budgets[self._stage] = smallest_budget(success, self.config.kappa, mean)
            self._found, self._spent = [], []

    def _count(self) -> int:
        config = self.config
        if config.tokens is None or not self._spent:
            return config.batch
        return max(1, round(config.tokens * len(self._spent) / sum(self._spent) / config.group))

    def _pool(self, level: str) -> Sequence[Problem]:
        if level not in self._pools:
            self._pools[level] = tasks.problems(self.config.task, level, "train", self.config.pool)
        return self._pools[level]


def train(config: Config) -> Path:
    """Train, write the checkpoint and return its folder."""
    return reinforce(E3, config)
