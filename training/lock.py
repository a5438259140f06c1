"""`longthink train lock`: why hard problems need guidance, on the smallest of them, with the recipes as they are.

A combination lock opens for one of 4^10 sequences and tells nothing of a wrong one. The policy is a table: logits for
each digit at each place, the first uniform, with no generalisation between places. It continues a prefix and repeats
a hint, as an instructed model would, and is otherwise sampled and reinforced by the same `episode`, `Play` and rows as
a language model. A step is four groups of samples, as PrefixRL mixes them: three guided and a plain one.

Rule: the engine knows nothing of the combination, and the recipes nothing of the table.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from benchmarks.report import table
from decoders.core.engine import Chunk, Feature
from decoders.core.messages import Prompt, Sampling
from decoders.core.task import Model
from decoders.prompts import Pack
from training.collect import collect
from training.guidance import Guided, GuidedConfig
from training.play import POLICY, Play
from training.recipes.pope import Config as PopeConfig
from training.recipes.pope import Hints, Pope
from training.recipes.prefixrl import Config as PrefixConfig
from training.recipes.prefixrl import PrefixRL
from training.rows import Row
from training.settings import Loss
from training.traces import Solution

DIGITS, LENGTH = 4, 10
RATE = 8.0
SOLVED = 0.5
"""Probability of the right combination, without help, at which a lock counts as solved."""
_WORD, _BEGIN = DIGITS, DIGITS + 1
"""Ids of anything that is no digit, and of the place where the reply begins."""


@dataclass(frozen=True, slots=True)
class Lock:
    """A problem without a clue."""

    combination: tuple[int, ...]
    id: str = "lock"
    question: str = "Open the lock."
    environment: None = None

    def check(self, answer: str) -> bool:
        """Whether it opens."""
        return answer.split() == [str(digit) for digit in self.combination]


class TableEngine:
    """softmax(logits[place]) for each place of the combination; digits in the prompt are a hint and are repeated."""

    model = POLICY
    context_length = 1 << 20
    features: frozenset[Feature] = frozenset({"prefix", "token_ids"})

    def __init__(self) -> None:
        self.logits = np.zeros((LENGTH, DIGITS))

    @property
    def policy(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Probabilities, [place, digit]."""
        shares = np.exp(self.logits - self.logits.max(1, keepdims=True))
        made: np.ndarray[Any, np.dtype[np.float64]] = shares / shares.sum(1, keepdims=True)
        return made

    def success(self, lock: Lock) -> float:
        """The probability of the right combination without help."""
        return float(self.policy[range(LENGTH), list(lock.combination)].prod())

    def learn(self, rows: Sequence[Row]) -> None:
        """θ += rate · mean over rows of A Σ_i ∇ log p(y_i), where y_i is the policy's own and not a hint repeated."""
        policy, change = self.policy, np.zeros_like(self.logits)
        for row in rows:
            hint, begin = _shown(row.prompt)
            for place in range(max(begin, len(hint)), begin + len(row.completion)):
                change[place] -= row.advantage * policy[place]
                change[place, row.completion[place - begin]] += row.advantage
        self.logits += RATE * change / max(len(rows), 1)

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        """All digits that the prefix leaves, at once."""
        ids = await self.tokenize(prompt)
        hint, begin = _shown(ids)
        rng = np.random.default_rng(sampling.seed)
        drawn = (self.policy.cumsum(1)[None] < rng.random((sampling.n, LENGTH, 1))).sum(2).clip(max=DIGITS - 1)
        drawn[:, : len(hint)] = hint
        for index, digits in enumerate(drawn[:, begin:].tolist()):
            text = "".join(f" {digit}" for digit in digits)
            yield Chunk(text, tuple(digits), finish="stop", index=index, prompt_tokens=len(ids))

    async def tokenize(self, prompt: Prompt, *, special: bool = False, opened: bool = True) -> tuple[int, ...]:
        """An id for each word."""
        told = " ".join(message.content for message in prompt.messages)
        begin = (_BEGIN,) if prompt.text is None else ()
        return (*_ids(told), *begin, *_ids(prompt.text or prompt.prefix))

    async def detokenize(self, ids: Sequence[int]) -> str:
        """Digits and gaps."""
        return " ".join(str(id) if id < DIGITS else "_" for id in ids)

    async def count(self, prompt: Prompt) -> int:
        """Words."""
        return len(await self.tokenize(prompt))

    async def ready(self) -> bool:
        """Always."""
        return True

    async def aclose(self) -> None:
        """Nothing to free."""


def _ids(text: str) -> list[int]:
    return [int(word) if word in "0123" else _WORD for word in text.split()]


def _shown(ids: Sequence[int]) -> tuple[list[int], int]:
    """The digits of a hint, and how many a prefix has."""
    at = len(ids) - list(reversed(ids)).index(_BEGIN)
    return [id for id in ids[:at] if id < DIGITS], len(ids) - at


Make = Callable[[int, Lock], Guided[Any]]
"""A recipe for a seed and a lock."""


def _recipe(
    cls: type[Guided[Any]], config: type[GuidedConfig], guidance: Any, group: int, seed: int, lock: Lock
) -> Any:
    text = " ".join(map(str, lock.combination))
    solution = Solution(
        task="lock", level="all", split="train", of=1, id=lock.id, question=lock.question, solution=text, reply=text
    )
    chosen: dict[str, Any] = {"seed": seed, "batch": 4, "group": group, "guidance": guidance, "max_tokens": LENGTH}
    return cls(config(loss=Loss(advantage="centred"), **chosen), [(lock, solution)])


def _pope(**guidance: Any) -> Make:
    return partial(_recipe, Pope, PopeConfig, Hints(**{"high": 0.9, "cuts": 9, "tries": 64, **guidance}), 8)


def _prefix(group: int = 8, **guidance: Any) -> Make:
    return partial(_recipe, PrefixRL, PrefixConfig, guidance, group)


METHODS: dict[str, tuple[int, Make]] = {
    "plain RL, n = 8": (750, _prefix(guided=0)),
    "plain RL, n = 64": (200, _prefix(64, guided=0)),
    "PrefixRL, three cuts in 40-80 %": (1500, _prefix()),
    "PrefixRL, a new cut at every visit": (750, _prefix(low=0, high=1, refresh=1)),
    "PrefixRL, prefixed copies only": (200, _prefix(plain=0)),
    "POPE, shortest hint, fixed": (1500, _pope(tries=256)),
    "POPE, shortest hint, refreshed every 20 steps": (750, _pope(refresh=20)),
}
"""Each with the steps after which it is given up."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a lock was solved, after how many steps and samples, and the probability that it opens then."""

    solved: bool
    steps: int
    samples: int
    success: float


def solve(method: str, seed: int) -> Outcome:
    """Train a table on one lock until it is solved or given up."""
    most, make = METHODS[method]
    drawn = random.Random(seed)
    lock = Lock(tuple(drawn.randrange(DIGITS) for _ in range(LENGTH)))
    return asyncio.run(_train(make(seed, lock), lock, most, seed))


async def _train(recipe: Guided[Any], lock: Lock, most: int, seed: int) -> Outcome:
    engine, samples = TableEngine(), 0
    models = {POLICY: Model(engine, Pack.load("plain"))}
    for step in range(most):
        play = Play(models, Sampling(max_tokens=1), step, seed)
        engine.learn(await collect(recipe, play))
        samples += sum(len(run.trace.steps) for run in play.runs)
        if engine.success(lock) >= SOLVED:
            return Outcome(True, step + 1, samples, engine.success(lock))
    return Outcome(False, most, samples, engine.success(lock))


def main(arguments: Sequence[str]) -> int:
    """Print the table."""
    made = argparse.ArgumentParser(prog="longthink train lock", description=__doc__, allow_abbrev=False)
    made.add_argument("--seeds", type=int, default=10, help="locks and seeds for each method (default: 10)")
    made.add_argument("--methods", help="only those whose name has this in it")
    made.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    options = made.parse_args(arguments)
    lines = []
    with ProcessPoolExecutor(options.jobs) as pool:
        for method in METHODS:
            if options.methods is None or options.methods in method:
                lines.append(line(method, list(pool.map(partial(solve, method), range(options.seeds)))))
    print(
        table(["method", "solved", "steps, median", "fewest to most", "samples, median", "least p in the end"], lines)
    )
    return 0


def line(method: str, found: Sequence[Outcome]) -> list[str]:
    """A method's row of the table; steps are those of the locks that were solved."""
    solved = [one.steps for one in found if one.solved]
    steps = [f"{median(solved):.0f}", f"{min(solved)} to {max(solved)}"] if solved else [f"> {METHODS[method][0]}", "—"]
    samples, least = median(one.samples for one in found), min(one.success for one in found)
    return [method, f"{len(solved)} of {len(found)}", *steps, f"{samples:,.0f}", f"{least:.1e}"]
