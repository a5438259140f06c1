"""Train the reasoning cache: reinforce single turns from states that the decoder's own chains reach (arXiv 2602.03773).

Section 6, for each problem x of a batch:

1. s_0 is empty, or in stage II (`buffer`) a random summary that the last visit of x left;
2. a chain of T turns by the served decoder, without gradient: z_t ~ p(· | x, s_{t-1}), s_t ~ p(· | x, s_{t-1}, z_t);
3. in stage II the chain's summaries replace those kept for x, each with its depth, the number of turns behind it;
4. `states` different ones of the states "", s_1 … s_{T-1} are drawn (`drawn`: of s_T too, as the follow-up code does);
5. for each of them K samples z ~ p(· | x, s) are rewarded by their own final answer alone;
6. A = (r - mean) / std inside a state's K samples; PPO with dual clip on these samples.

No credit crosses a turn, and summaries are never trained: they are only ever read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, JsonValue, model_validator

from benchmarks import tasks
from benchmarks.tasks import Problem
from decoders import rc
from decoders.base import Completion, Run
from training.play import Play, grade
from training.recipe import Recipe
from training.reinforce import reinforce
from training.rows import ADVANTAGES, Row
from training.settings import Reinforcement


class Config(Reinforcement):
    """Settings of the recipe."""

    output: Path = Path("runs/rc")
    task: str = "countdown"
    """Task family of the training problems."""
    levels: tuple[str, ...] = ("hard",)
    """Their levels."""
    pool: int = Field(default=2000, ge=1)
    """How many of each level; an epoch visits each once."""
    turns: int = Field(default=3, ge=1)
    """Turns of a chain, T in the paper."""
    reasoning_tokens: int = Field(default=16384, ge=1)
    """Tokens of a turn at most."""
    summary_tokens: int = Field(default=2048, ge=1)
    """Tokens of a summary at most."""
    states: int = Field(default=2, ge=1)
    """States of a problem that are trained from, N_summ in the paper; `group` samples each."""
    drawn: Literal["begun", "all"] = "begun"
    """States to draw from: those that the chain's turns began from, or the one behind its last turn as well."""
    buffer: bool = False
    """Stage II: begin a problem's chain from a summary that its last visit left."""
    wrong: float = 0.0
    """Reward of a claim that is wrong; what is right has 1, what came to no answer 0."""

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.batch > self.pool * len(self.levels):
            raise ValueError("a batch has no more problems than the pool")
        return self


PRESETS: dict[str, dict[str, JsonValue]] = {
    "paper": {
        "batch": 64,
        "group": 8,
        "states": 2,
        "turns": 3,
        "reasoning_tokens": 16384,
        "summary_tokens": 2048,
        "max_length": 16384,
        "updates": 2,
        "steps": 120,
        "learning_rate": 1e-6,
        "warmup": 0,
        "weight_decay": 0.01,
        "clip_norm": 1.0,
        "temperature": 1.0,
        "loss": {"mean": "token", "clip_low": 0.2, "clip_high": 0.28, "dual_clip": 3.0, "kl": 0.001},
    },
    "tiny": {
        "model": "runs/longthink-turns",
        "task": "residues",
        "levels": ["medium", "hard"],
        "pool": 480,
        "batch": 24,
        "group": 8,
        "reasoning_tokens": 32,
        "summary_tokens": 4,
        "max_length": 32,
        "steps": 60,
        "learning_rate": 3e-4,
    },
}


@dataclass(frozen=True, slots=True)
class State:
    """What a turn begins from: a summary and how many turns are behind it."""

    summary: str = ""
    depth: int = 0


class RC(Recipe[Config]):
    """See the module."""

    name: ClassVar[str] = "rc"
    paper: ClassVar[str] = "Reasoning Cache, arXiv 2602.03773"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        levels = [tasks.problems(config.task, level, "train", config.pool) for level in config.levels]
        self._pool = [problem for problems in levels for problem in problems]
        self._left: list[int] = []
        self._decoder = rc.RC(
            turns=config.turns, reasoning_tokens=config.reasoning_tokens, summary_tokens=config.summary_tokens
        )
        self._kept: dict[str, list[State]] = {}
        self._chains: list[list[bool]] = []
        self._depths: list[int] = []

    def problems(self, step: int) -> Sequence[Problem]:
        """The next ones of the epoch, each of which goes through the pool in an order of its own."""
        size, self._chains, self._depths = self.config.batch, [], []
        if len(self._left) < size:
            self._left = self.rng.sample(range(len(self._pool)), len(self._pool))
        drawn, self._left = self._left[:size], self._left[size:]
        return [self._pool[place] for place in drawn]

    async def episode(self, problem: Problem, play: Play) -> Sequence[Row]:
        """One chain, then a group of samples from each state that is drawn."""
        run = play.within("chain").run(self.config.turns * (self.config.reasoning_tokens + self.config.summary_tokens))
        start = self._start(problem, run)
        reached = await play.drive(run, lambda run: self._chain(problem, play, run, start)) or []
        if self.config.buffer and reached:
            self._kept[problem.id] = reached
        drawn = self._draw(reached, run)
        self._depths += [state.depth for state in drawn]
        plays = [play.within(f"state{place}") for place in range(len(drawn))]
        groups = [self._group(problem, state, inner) for state, inner in zip(drawn, plays, strict=True)]
        return [row for rows in await asyncio.gather(*groups) for row in rows]

    def _start(self, problem: Problem, run: Run) -> State:
        kept = self._kept.get(problem.id)
        return run.rng.choice(kept) if kept else State()

    async def _chain(self, problem: Problem, play: Play, run: Run, start: State) -> list[State]:
        """The states behind each turn."""
        task, summary, reached, right = play.task(problem), start.summary, list[State](), list[bool]()
        for turn in range(1, self.config.turns + 1):
            draft = await self._decoder.reason(task, run, summary)
            summary = await self._decoder.summarise(task, run, summary, draft)
            reached.append(State(summary, start.depth + turn))
            right.append(problem.check(draft.answer))
        self._chains.append(right)
        return reached

    def _draw(self, reached: Sequence[State], run: Run) -> list[State]:
        """Different states. As in the published code the first is empty, even where the chain began elsewhere."""
        begun = [State(), *(reached if self.config.drawn == "all" else reached[:-1])]
        different = list({state.summary: state for state in reversed(begun)}.values())[::-1]
        return run.rng.sample(different, min(self.config.states, len(different)))

    async def _group(self, problem: Problem, state: State, play: Play) -> list[Row]:
        """K samples of the turn that begins from a state, each judged by itself."""
        size, limit = self.config.group, self.config.reasoning_tokens
        run = play.run(size * limit)

        async def body(run: Run) -> list[Completion]:
            prompt = self._decoder.prompt(play.task(problem), run, state.summary)
            return await self._decoder.solutions(prompt, size, run, role="reason", max_tokens=limit)

        await play.drive(run, body)
        steps = sorted(run.trace.steps, key=lambda step: int(step.key.rpartition(".")[2]))
        rewards = [grade(problem, step.completion, self.config.wrong) for step in steps]
        return await play.rows(steps, ADVANTAGES[self.config.loss.advantage](rewards), rewards)

    def state(self) -> Mapping[str, Any]:
        """The rest of the epoch, and the summaries that are kept."""
        kept = {id: [[state.summary, state.depth] for state in states] for id, states in self._kept.items()}
        return {"left": self._left, "kept": kept}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with them."""
        self._left = list(state["left"])
        self._kept = {id: [State(*pair) for pair in states] for id, states in state["kept"].items()}

    def metrics(self) -> Mapping[str, float]:
        """How often the chains' first turn, last turn and any turn were right, and how deep the states lay."""
        if not self._chains:
            return {}
        return {
            "first_turn": fmean(turns[0] for turns in self._chains),
            "last_turn": fmean(turns[-1] for turns in self._chains),
            "any_turn": fmean(any(turns) for turns in self._chains),
            "depth": fmean(self._depths),
        }


def train(config: Config) -> Path:
    """Train, write the checkpoint and return its folder."""
    return reinforce(RC, config)
