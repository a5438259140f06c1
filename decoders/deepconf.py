"""DeepConf: let samples vote with the weight of their own confidence, without those that were least sure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from statistics import fmean
from typing import ClassVar, Literal

from pydantic import Field

from decoders.base import Completion, Decoder, Run, Task
from decoders.core.choosing import tally, vote
from decoders.core.engine import Chunk, Feature

Measure = Literal["mean", "tail", "bottom", "lowest"]


class DeepConf(Decoder):
    """C_t = -1/k Σ_j log p_t(j) over the k likeliest tokens j; argmax_a Σ_i C(y_i) 1[answer(y_i) = a].

    C(y) is the mean of C_t over all of y, over its last window (`tail`), over its least confident tenth of windows
    (`bottom`) or over the least confident one (`lowest`). Offline only the most confident samples vote. Online the
    first samples set the `lowest` that later ones must keep to the end: one that falls below is stopped there.
    """

    name: ClassVar[str] = "deepconf"
    paper: ClassVar[str] = "Fu et al. 2025, arXiv 2508.15260"
    needs: ClassVar[frozenset[Feature]] = frozenset({"logprobs"})

    mode: Literal["offline", "online"] = "offline"
    """Choose among complete samples, or stop unsure ones while they are written."""
    n: int = Field(default=32, ge=1, le=1024)
    """Samples at most."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens of one sample at most; without it an equal share of the budget."""
    measure: Measure = "bottom"
    """A sample's weight in the vote."""
    keep: float = Field(default=0.9, gt=0, le=1)
    """The share of samples that vote; online the share of the first samples that would not have been stopped."""
    window: int = Field(default=2048, ge=1)
    """Tokens of one window."""
    alternatives: int = Field(default=20, ge=1, le=20)
    """Likeliest tokens k that a token's confidence is taken over."""
    warmup: int = Field(default=16, ge=1, le=1024)
    """Online: the first samples, and how many later ones are drawn at a time."""
    consensus: float = Field(default=0.95, ge=0, le=1)
    """Online: draw no more once the leading answer has this share of the weight."""

    async def decode(self, task: Task, run: Run) -> Completion:
        """Samples that were cut before they answered have no vote."""
        return await (self._offline if self.mode == "offline" else self._online)(task, run)

    async def _offline(self, task: Task, run: Run) -> Completion:
        samples = await self._sample(task, run, self.n)
        answered = [s for s in samples if s.answered]
        kept = sorted(answered, key=self._weight, reverse=True)[: self._share(len(answered))]
        return self._elect(run, kept or samples)

    async def _online(self, task: Task, run: Run) -> Completion:
        first = await self._sample(task, run, min(self.warmup, self.n))
        floors = sorted((self._lowest(s) for s in first), reverse=True)
        floor = floors[self._share(len(floors)) - 1]
        seen, voters = len(first), [s for s in first if s.answered and self._lowest(s) >= floor]
        best = self._elect(run, voters or first)
        while seen < self.n and self._agreement(run, voters) < self.consensus:
            wave = min(self.warmup, self.n - seen)
            later = await self._guarded(task, run, wave, floor)
            seen, voters = seen + wave, voters + [s for s in later if s.answered]
            best = self._elect(run, voters) if voters else best
        return best

    async def _sample(self, task: Task, run: Run, n: int) -> list[Completion]:
        return await run.sample(
            run.prompt("solve", task),
            n,
            role="solve",
            max_tokens=self._cap(run, self.n),
            reply=True,
            confidence=self.alternatives,
        )

    async def _guarded(self, task: Task, run: Run, n: int, floor: float) -> list[Completion]:
        """Samples that end where their confidence falls below the floor."""
        prompt, cap = run.prompt("solve", task), self._cap(run, n)

        async def one(branch: Run) -> Completion:
            return await branch.generate(
                prompt,
                role="solve",
                max_tokens=cap,
                reply=True,
                confidence=self.alternatives,
                until=Dip(self.alternatives, self.window, floor),
            )

        return [sample for sample in await run.parallel([one] * n) if sample is not None]

    def _elect(self, run: Run, candidates: Sequence[Completion]) -> Completion:
        winner = vote(run, candidates, [self._weight(c) for c in candidates])
        run.answer(winner)
        return winner

    def _agreement(self, run: Run, voters: Sequence[Completion]) -> float:
        votes = tally(run, voters, [self._weight(v) for v in voters])
        return max(votes.values(), default=0.0) / (sum(votes.values()) or 1.0)

    def _cap(self, run: Run, n: int) -> int:
        return self.max_tokens or max(run.budget.left // n, 1)

    def _share(self, n: int) -> int:
        return max(math.ceil(self.keep * n), 1)

    def _weight(self, sample: Completion) -> float:
        return confidence(sample.confidences, self.measure, self.window)

    def _lowest(self, sample: Completion) -> float:
        return confidence(sample.confidences, "lowest", self.window)


class Dip:
    """Ends a sample once the mean confidence of its last `window` tokens is below the floor."""

    def __init__(self, alternatives: int, window: int, floor: float) -> None:
        self._alternatives, self._floor, self._sum = alternatives, floor, 0.0
        self._tokens: deque[float] = deque(maxlen=window)

    def __call__(self, chunk: Chunk) -> bool:
        """Whether the confidence has fallen."""
        low = False
        for token in chunk.logprobs:
            full = len(self._tokens) == self._tokens.maxlen
            new = token.confidence(self._alternatives)
            self._sum += new - (self._tokens[0] if full else 0.0)
            self._tokens.append(new)
            low = low or (len(self._tokens) == self._tokens.maxlen and self._sum / len(self._tokens) < self._floor)
        return low


def confidence(tokens: Sequence[float], measure: Measure, window: int) -> float:
    """The confidence of a whole sample from that of its tokens; 0 of an empty one."""
    if not tokens:
        return 0.0
    if measure == "mean":
        return fmean(tokens)
    if measure == "tail":
        return fmean(tokens[-window:])
    size = min(window, len(tokens))
    sums = [0.0, *accumulate(tokens)]
    groups = sorted((end - begin) / size for begin, end in zip(sums, sums[size:], strict=False))
    return groups[0] if measure == "lowest" else fmean(groups[: max(len(groups) // 10, 1)])
