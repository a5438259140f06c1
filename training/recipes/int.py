"""InT (arXiv 2601.14209): intervention training, a supervised start that makes reinforcement on hard problems possible.

H: problems that the base model solves in none of 128 samples, each with a reference solution. The first `gather` steps
sample and train nothing; for each x of H

1. attempts y ~ p(· | x), cut into numbered steps y_1 … y_n; those that are wrong go on.
2. The model sees the reference, verifies every step, finds the first critical error t, and proposes one intervention
   z, a step to be taken in place of y_t. What gives the answer away is dropped; of several proposals the first that is
   left counts.
3. Continuations of y_1 … y_{t-1} z are sampled without the reference. It is kept where their success is above that of
   the attempts, which is 0 where all of them were wrong.

All other steps imitate what was kept: next-token loss on y_1 … y_{t-1} z behind x. Neither what follows it nor an end
token is trained, or the model would learn to stop there. Then comes reinforcement on H without any help, with another
recipe: `longthink train prefixrl --set model=runs/int --set guidance.guided=0`.

With `proposer="oracle"` a rule proposes (`training/teachers/interventions.py`), for models that cannot verify.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from pydantic import Field, JsonValue

from benchmarks.tasks import Problem
from decoders.core.errors import ContextOverflow
from decoders.core.leaks import leaks
from decoders.core.messages import Prompt
from training import traces
from training.guidance import NONE, Guide, attempts, rewards, words
from training.interventions import Asked, Attempt, Proposer
from training.play import POLICY, Play
from training.recipe import Recipe
from training.reinforce import reinforce
from training.rows import Row
from training.settings import Reinforcement
from training.teachers import interventions as oracle
from training.traces import Solution


class Config(Reinforcement):
    """Settings of the recipe; `group` are the attempts at a problem."""

    output: Path = Path("runs/int")
    """Folder of the run."""
    traces: Path = Path("runs/traces.jsonl")
    """Problems with reference solutions, from `longthink traces`; its training problems are the ones trained on."""
    gather: int = Field(default=10, ge=1)
    """Steps that sample from the start model, `batch` problems each, in turn; the others imitate."""
    proposer: Literal["model", "oracle"] = "model"
    """Who proposes interventions: the model itself, or a rule that knows the task."""
    proposals: int = Field(default=4, ge=1)
    """Of the model, for each wrong attempt."""
    continuations: int = Field(default=32, ge=1)
    """Of each intervention, to see whether it helps."""
    max_tokens: int = Field(default=160, ge=1)
    """Tokens of an attempt or a continuation at most."""
    propose_tokens: int = Field(default=8192, ge=1)
    """Tokens of a proposal at most, its verification log included."""


# the paper's: each of 4,572 problems once, then four epochs over 2,213 rows, at a constant rate instead of a cosine
PRESETS: dict[str, dict[str, JsonValue]] = {
    "paper": {
        "gather": 72,
        "steps": 72 + 138,
        "batch": 64,
        "group": 4,
        "temperature": 0.7,
        "max_tokens": 16384,
        "propose_tokens": 16384,
        "max_length": 16384,
        "learning_rate": 1e-6,
    },
    "tiny": {
        "proposer": "oracle",
        "gather": 8,
        "steps": 8 + 24,
        "batch": 32,
        "group": 2,
        "continuations": 4,
        "max_tokens": 128,
        "max_length": 128,
        "learning_rate": 2e-4,
    },
}


class Int(Recipe[Config]):
    """One pass of sampling, one of imitation. `pool` are problems with references, by default those of the traces."""

    name = "int"
    paper = "InT, arXiv 2601.14209"

    def __init__(self, config: Config, pool: Sequence[tuple[Problem, Solution]] | None = None) -> None:
        super().__init__(config)
        found = traces.read(config.traces) if pool is None else pool
        self._pool = {problem.id: (problem, line) for problem, line in found if line.split == "train"}
        if not self._pool:
            raise ValueError(f"{config.traces} has no solutions of training problems")
        asked = Asked(config.proposals, config.propose_tokens)
        self._propose: Proposer = oracle.propose if config.proposer == "oracle" else asked
        self._order = self.rng.sample(list(self._pool), len(self._pool))
        self._kept: dict[str, list[Row]] = {}
        self._funnel: Counter[str] = Counter()

    def problems(self, step: int) -> Sequence[Problem]:
        """All in turn as long as the start model samples, then those with interventions that help."""
        if step < self.config.gather or not self._kept:
            size = min(self.config.batch, len(self._order))
            drawn = [self._order[(step * size + place) % len(self._order)] for place in range(size)]
        else:
            drawn = self.rng.sample(sorted(self._kept), min(self.config.batch, len(self._kept)))
        return [self._pool[id][0] for id in drawn]

    async def episode(self, problem: Problem, play: Play) -> Sequence[Row]:
        """A row to imitate, another at another step; before there are any, attempts, interventions and no row."""
        if play.step >= self.config.gather and (kept := self._kept.get(problem.id)):
            return [kept[play.step % len(kept)]]
        steps = await attempts(problem, NONE, play, self.config.group, self.config.max_tokens)
        worth = rewards(problem, NONE, steps)
        _, line = self._pool[problem.id]
        boundary = play.models[POLICY].pack.boundary
        wrong = [
            self._intervened(Attempt(problem, step.completion.text, line.solution, boundary), fmean(worth), play, place)
            for place, (step, right) in enumerate(zip(steps, worth, strict=True))
            if right < 1
        ]
        found = [row for row in await asyncio.gather(*wrong) if row is not None]
        if found:
            self._kept.setdefault(problem.id, []).extend(found)
        return []

    async def _intervened(self, attempt: Attempt, baseline: float, play: Play, place: int) -> Row | None:
        """The attempt's beginning with an intervention, where continuations of it are right more often than before."""
        config, problem = self.config, attempt.problem
        self._funnel["wrong"] += 1
        text = await self._proposed(attempt, play.within(f"{place}/propose"))
        if text is None:
            return None
        guide = Guide(text, "assistant_prefix", 1.0)
        tried = await attempts(problem, guide, play.within(f"{place}/go on"), config.continuations, config.max_tokens)
        right = rewards(problem, guide, tried)
        self._funnel["continued"] += len(right)
        self._funnel["right"] += right.count(1.0)
        if fmean(right or [0.0]) <= baseline:
            return None
        self._funnel["kept"] += 1
        prompt = await play.tokenize(NONE.prompt(play.task(problem), play.run(1)))
        return Row(prompt, await words(play).tokenize(Prompt(text=text)), 1.0, reward=fmean(right), kind="intervened")

    async def _proposed(self, attempt: Attempt, play: Play) -> str | None:
        """The beginning with the first intervention that fits and gives nothing away."""
        pack = play.models[POLICY].pack
        try:
            proposals = await self._propose(attempt, play)
        except ContextOverflow:
            self._funnel["too long"] += 1
            return None
        answer = pack.extract(attempt.reference)
        for proposal in proposals:
            text = attempt.spliced(proposal)
            if text is None:
                self._funnel["misplaced"] += 1
            elif leaks(proposal.content, [answer], pack.format()) or attempt.problem.check(proposal.content):
                self._funnel["leaking"] += 1
            else:
                self._funnel["proposed"] += 1
                return text
        return None

    def state(self) -> Mapping[str, Any]:
        """What was kept, and how much was not."""
        kept = {id: [[r.prompt, r.completion, r.reward] for r in rows] for id, rows in self._kept.items()}
        return {"kept": kept, "funnel": dict(self._funnel)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with them."""
        self._funnel = Counter(state["funnel"])
        self._kept = {
            id: [Row(tuple(asked), tuple(said), 1.0, reward=right, kind="intervened") for asked, said, right in rows]
            for id, rows in state["kept"].items()
        }

    def metrics(self) -> Mapping[str, float]:
        """How many attempts came how far, in all so far, and on how many problems an intervention helps."""
        found = {f"funnel/{name}": float(count) for name, count in self._funnel.items()}
        return {**found, "helped": float(len(self._kept))}


def train(config: Config) -> Path:
    """Train, write the checkpoint and return its folder."""
    return reinforce(Int, config)
