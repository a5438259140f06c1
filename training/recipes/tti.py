"""TTI: teach an agent to use interactions, with a horizon that grows while it learns (arXiv 2506.07976, section 4).

    for i = 0, 1, ...:
        h = schedule(i)                               short episodes first: their rewards are dense and cheap
        D += episodes of the policy within h interactions, by the served decoder `tti`, o_t+1 = act(a_t)
        keep = those with a reward and an answer, at most `replay` of them, drawn by recency and rare kinds
        filtered behaviour cloning:  maximise  Σ_keep Σ_t log p(a_t | goal, o_0, a_0, ..., o_t)
        or REINFORCE:                maximise  Σ_D (R - mean R of the group) Σ_t log p(a_t | ...)

Observations are read and never trained. Cloning is policy gradient with the reward as its advantage, without a
baseline and without negatives; its rows have no log-probabilities of the sampler, so the importance ratio is 1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue

from benchmarks.tasks import Problem, load
from decoders.base import Decoder
from decoders.core.errors import BudgetExhausted, EnvironmentFailed
from training.buffer import Buffer
from training.curriculum import Schedule, additive, fixed, multiplicative
from training.play import Play, Played
from training.recipe import Recipe
from training.reinforce import reinforce
from training.rows import ADVANTAGES, Row
from training.settings import AGENT, Reinforcement, Start

MILLIONS = 10**9
"""Of so many millions of seeds the training problems are the first."""


class Config(Reinforcement):
    """Settings of the recipe."""

    output: Path = Path("runs/tti")
    """Folder of the run."""
    model: Start = AGENT
    """The checkpoint to start from."""
    task: str = "site"
    """A task whose problems have an environment."""
    levels: dict[str, float] = Field({"3-find": 1.0}, min_length=1)
    """How often each level is drawn."""
    algorithm: Literal["cloning", "reinforce"] = "cloning"
    """Imitate the kept episodes of the buffer, or reinforce those of the batch within their groups."""
    schedule: Literal["multiplicative", "additive", "fixed", "listed"] = "multiplicative"
    """How the horizon grows every `every` steps: by the factor or by the addend `growth`, not at all, or as listed."""
    shortest: int = Field(default=4, ge=0)
    """The first horizon."""
    longest: int = Field(default=32, ge=0)
    """The last horizon, and the only one that is `fixed`."""
    growth: float = Field(default=2.0, gt=0)
    """Factor or addend."""
    every: int = Field(default=10, ge=1)
    """Steps of one horizon."""
    horizons: tuple[int, ...] = (10, 20, 20, 30)
    """The listed ones, `every` steps each; the last one stays."""
    min_answers: int = Field(default=1, ge=1)
    """How often an answer must be given in training before it counts."""
    interactions: int = Field(default=0, ge=0)
    """What a step spends in place of `batch` problems, answers included, so that horizons compare at equal cost."""
    episode_tokens: int = Field(default=4096, ge=1)
    """The purse of an episode."""
    decoder: dict[str, JsonValue] = Field({})
    """More options of the decoder."""
    replay: int = Field(default=64, ge=1)
    """Kept rows that a step clones."""
    capacity: int = Field(default=1024, ge=1)
    """Kept rows that are remembered."""

    def horizon(self) -> Schedule:
        """From a step to its horizon."""
        if self.schedule == "fixed":
            return fixed(self.longest)
        if self.schedule == "listed":
            return lambda step: self.horizons[min(step // self.every, len(self.horizons) - 1)]
        if self.schedule == "additive":
            return additive(self.shortest, round(self.growth), self.every, self.longest)
        return multiplicative(self.shortest, self.growth, self.every, self.longest)


PRESETS: dict[str, dict[str, JsonValue]] = {
    "paper": {
        "steps": 15,
        "batch": 512,
        "schedule": "listed",
        "horizons": [10, 20, 20, 30],
        "every": 1,
        "replay": 512,
        "capacity": 15 * 512,
        "updates": 128,
        "learning_rate": 4e-6,
        "weight_decay": 0.01,
        "warmup": 0,
        "clip_norm": 0.01,
        "episode_tokens": 31 * 1024,
        "decoder": {"think_tokens": 1024, "keep_observations": 1},
        "save_every": 1,
    },
    "tiny": {"interactions": 512, "steps": 30, "learning_rate": 5e-4, "engine_options": {"slots": 96}},
}
"""`paper`: the released settings (WebVoyager); the epoch over the kept rows is 128 updates. `tiny`: two CPU cores."""


class TTI(Recipe[Config]):
    """Episodes within the horizon of the step; the rows of the good ones, or of all with their centred return."""

    name: ClassVar[str] = "tti"
    paper: ClassVar[str] = "TTI, arXiv 2506.07976"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.buffer = Buffer(config.capacity)
        self._schedule = config.horizon()
        self._cloning = config.algorithm == "cloning"
        self._group = 1 if self._cloning else config.group
        self._advantage = ADVANTAGES[config.loss.advantage]
        self._levels: dict[str, str] = {}
        self._horizon = 0
        self._batch = Account()
        self._spent = 0
        self._cost = 0.0

    def problems(self, step: int) -> Sequence[Problem]:
        """Problems of the training split, levels by their weights."""
        config = self.config
        size = self._size(step)
        self._horizon, self._batch = self._schedule(step), Account()
        levels = self.rng.choices(list(config.levels), list(config.levels.values()), k=size)
        task = load(config.task)
        drawn = [task.problems(level, "train", 1, self.rng.randrange(MILLIONS))[0] for level in levels]
        self._levels = {problem.id: level for problem, level in zip(drawn, levels, strict=True)}
        return drawn

    async def episode(self, problem: Problem, play: Play) -> Sequence[Row]:
        """The rows of the group's episodes on one problem."""
        options = {**self.config.decoder, "max_steps": self._horizon, "min_answers": self.config.min_answers}
        decoder = play.decoder({"name": "tti", **options})
        sides = (self._played(problem, decoder, play.within(str(place))) for place in range(self._group))
        played = [one for one in await asyncio.gather(*sides) if one is not None]
        self._batch.add(played)
        if not played:
            return []
        rewards = [_reward(one) for one in played]
        advantages = [float(r > 0) for r in rewards] if self._cloning else self._advantage(rewards)
        rows = list[Row]()
        for one, advantage, reward in zip(played, advantages, rewards, strict=True):
            if advantage or not self._cloning:
                rows += await play.episode(one, advantage, reward, self._levels[problem.id])
        return [replace(row, logprobs=None) for row in rows] if self._cloning else rows

    async def _played(self, problem: Problem, decoder: Decoder, play: Play) -> Played | None:
        """An episode; None where its environment or its purse failed before there was an answer."""
        try:
            return await play.decode(problem, decoder, self.config.episode_tokens)
        except (BudgetExhausted, EnvironmentFailed):
            return None

    def replay(self, sampled: Sequence[Row]) -> Sequence[Row]:
        """What is cloned: of the kept rows some, old ones among them. REINFORCE is on-policy."""
        self._settle()
        if not self._cloning:
            return sampled
        self.buffer.add(sampled)
        return self.buffer.draw(self.config.replay, self.rng)

    def state(self) -> Mapping[str, Any]:
        """The buffer, and what the sizes of batches depend on."""
        return {"buffer": self.buffer.state(), "spent": self._spent, "cost": self._cost}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.buffer.restore(state["buffer"])
        self._spent, self._cost = state["spent"], state["cost"]

    def metrics(self) -> Mapping[str, float]:
        """Of the episodes of the batch."""
        batch = self._batch
        return {
            "horizon": self._horizon,
            "episodes": batch.episodes,
            "success": batch.successes / max(batch.episodes, 1),
            "interactions": batch.interactions / max(batch.episodes, 1),
            "cut": batch.cut / max(batch.episodes, 1),
            "spent": self._spent,
            "buffer": len(self.buffer),
        }

    def _size(self, step: int) -> int:
        """How many problems; where interactions are bought, as many as the account lacks at what an episode costs.

        What a step lacks or has too much is made up for by and by: a tiny batch would be wasted on noise.
        """
        if not (usual := self.config.interactions):
            return self.config.batch
        due = min(max((step + 1) * usual - self._spent, usual * 0.75), usual * 1.25)
        cost = self._cost or (self._schedule(step) + self.config.min_answers) / 2
        return max(1, round(due / cost / self._group))

    def _settle(self) -> None:
        """Book what the batch has cost; the cost of an episode is a mean that forgets half with each batch."""
        batch = self._batch
        self._spent += batch.interactions
        if batch.episodes:
            cost = batch.interactions / batch.episodes
            self._cost = (self._cost + cost) / 2 if self._cost else cost


@dataclass
class Account:
    """Counts over the episodes of a batch: whole numbers, so that no sum depends on the order in which they end."""

    episodes: int = 0
    successes: int = 0
    interactions: int = 0
    cut: int = 0

    def add(self, played: Sequence[Played]) -> None:
        """Count these; an interaction is an action or an answer, `cut` are those whose horizon came first."""
        for one in played:
            done = one.trace.interaction
            self.episodes += 1
            self.successes += _reward(one) > 0
            self.interactions += sum(act.action is not None for act in one.trace.acts)
            self.cut += done is not None and done.stopped == "budget"


def _reward(played: Played) -> float:
    """What the environment gave for an answer; 0 without one."""
    done = played.trace.interaction
    return (done.reward or 0.0) if done and played.answer else 0.0


def train(config: Config) -> Path:
    """Train, write the checkpoint and return its folder."""
    return reinforce(TTI, config)
