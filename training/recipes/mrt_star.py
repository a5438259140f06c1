"""MRT by imitation (arXiv 2503.07572, its STaR form): keep the thoughts that progress most, and learn to think so.

The first `gather` steps sample groups of K thoughts from the start model, probe them as `mrt` does, and train nothing.
Of a group's thoughts that end right one is kept, cut behind the episode after which J rises no more, with a right
answer that was forced there:

    j* = the first of argmax_j J(c_j)
    kept is the thought with the largest J(c_j*) - J(c_0), of equals the one with the shortest c_j*

Progress alone tells those that found the answer from those that guessed it, but not one find from another: its sum
telescopes to 1 - J(c_0) for each. So their cost decides; how the paper cuts and ranks is not published. All other
steps take one step of next-token loss on kept rows. `progress = 0` is STaR: no probes, and the first thought of a group
that ends right is kept as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

from pydantic import Field, JsonValue

from benchmarks.tasks import Problem
from decoders.core.rows import asked
from training.play import Play
from training.recipes import mrt
from training.recipes.mrt import MRT, Group
from training.reinforce import reinforce
from training.rows import Row


class Config(mrt.Config):
    """Settings of the recipe."""

    output: Path = Path("runs/mrt-star")
    """Folder of the run."""
    gather: int = Field(default=10, ge=1)
    """Steps that sample from the start model; the others imitate."""
    rows: int = Field(default=64, ge=1)
    """Kept thoughts in a step of imitation at most; with `tokens`, no more than have so many tokens."""


PRESETS: dict[str, dict[str, JsonValue]] = {
    "paper": {
        "task": "questions",
        "levels": ["all"],
        "pool": 10000,
        "gather": 40,
        "steps": 157,
        "batch": 250,
        "group": 4,
        "rows": 256,
        "temperature": 0.7,
        "max_tokens": 16384,
        "max_length": 16384,
        "ending": {"answer_tokens": 4096},
        "probes": 8,
        "learning_rate": 1e-6,
    },
    "tiny": mrt.PRESETS["tiny"] | {"gather": 120, "steps": 200, "probes": 4, "loss": {}},
}
"""`paper`: 10,000 problems once, then three epochs if each of them leaves a row; group and sampling are ours."""


class Star(MRT):
    """One pass of sampling, one of imitation."""

    name: ClassVar[str] = "mrt_star"
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._kept: list[Row] = []
        self._gathers = True

    def problems(self, step: int) -> Sequence[Problem]:
        """New ones as long as the start model samples, none afterwards."""
        self._gathers = step < self.config.gather or not self._kept
        return super().problems(step) if self._gathers else []

    async def episode(self, problem: Problem, play: Play) -> Sequence[Row]:
        """What was sampled, to be told of and not to be trained on."""
        group = await self.think(problem, play)
        best = await self._best(group, play)
        self._kept += [best] if best else []
        return [await play.row(thought.step, 0.0, right) for thought, right in group.pairs]

    def replay(self, sampled: Sequence[Row]) -> Sequence[Row]:
        """In a step of imitation rows that were kept, each at most once."""
        if self._gathers:
            return sampled
        config = self.config
        drawn = self.rng.sample(self._kept, min(config.rows, len(self._kept)))
        if config.tokens is None:
            return drawn
        sizes = [sum(row.trained for row in drawn[: place + 1]) for place in range(len(drawn))]
        return drawn[: max(1, sum(size <= config.tokens for size in sizes))]

    async def _best(self, group: Group, play: Play) -> Row | None:
        right = [thought for thought, reward in group.pairs if reward]
        if not group.probes:
            return replace(await play.row(right[0].step, 1.0, 1.0), kind="kept") if right else None
        ranked = []
        for place, thought in enumerate(right):
            success = group.success(thought)
            end = success.index(max(success))
            ranked.append((success[0] - success[end], thought.cuts[end], place, end))
        loss, _, place, end = min(ranked, default=(0.0, 0, 0, 0))
        if loss >= 0:
            return None
        thought = right[place]
        context = thought.contexts[end]
        probe = group.probes[context.text]
        answer = probe.answers[probe.rewards.index(1.0)]
        begin = asked(thought.step)
        size = len(await play.tokenize(begin))
        read = await play.tokenize(replace(begin, prefix=context.text))  # what the model has answered to
        return Row(read[:size], (*read[size:], *answer.token_ids), 1.0, None, None, 1.0, "kept")

    def metrics(self) -> Mapping[str, float]:
        """How many thoughts are kept, and how long they are, beside what `mrt` tells."""
        kept = {"kept": float(len(self._kept))}
        return {**super().metrics(), **kept, "kept_length": fmean([len(row.completion) for row in self._kept] or [0])}

    def state(self) -> Mapping[str, Any]:
        """What is kept."""
        return {**super().state(), "kept": [[row.prompt, row.completion] for row in self._kept]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The same, read back."""
        super().restore(state)
        self._kept = [Row(tuple(asked), tuple(said), 1.0, None, None, 1.0, "kept") for asked, said in state["kept"]]


def train(config: Config) -> Path:
    """Train, write the checkpoint and return its folder."""
    return reinforce(Star, config)
