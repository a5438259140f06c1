"""Weighted vote: samples vote for their answers, each with the weight that a judge gives it."""

from __future__ import annotations

from statistics import fmean
from typing import ClassVar, Literal

from pydantic import Field

from decoders.base import Completion, Run, Solving, Task
from decoders.core.choosing import judged, leader, shown, tally, vote


class WeightedVote(Solving):
    """argmax_a Σ_i w_i 1[answer(y_i) = a], y_i ~ p(y | x), w_i what a judge thinks of y_i; the earliest of equals wins.

    Each different text is judged once, and none where all samples agree. Where the judge gives no weight to any sample,
    every sample has one vote.
    """

    name: ClassVar[str] = "weighted_vote"
    paper: ClassVar[str] = "Li et al. 2023, arXiv 2206.02336 (voting verifier), with a served model as the judge"

    n: int = Field(default=8, ge=1, le=1024)
    """Samples."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens of one sample at most; without it an equal share of the budget."""
    scoring: Literal["verdict", "grade"] = "verdict"
    """The weight: `verdict` is the share of verdicts that accept the sample, `grade` the mean of marks from 0 to 1."""
    aggregate: Literal["sum", "mean"] = "sum"
    """How the weights of equal answers come together; with `mean` it no longer counts how many samples agree."""
    verifications: int = Field(default=1, ge=1, le=64)
    """Verdicts or marks for each sample."""
    verify_tokens: int = Field(default=2048, ge=1)
    """Tokens of one verdict or mark at most."""
    judge_model: str | None = None
    """Another served model that judges."""

    async def decode(self, task: Task, run: Run) -> Completion:
        """Sample all, judge all, vote; a quarter of the budget at most is kept back for the judge."""
        run.pack(self.judge_model).require(self._prompt)
        fair = run.budget.left // self.n
        share = max(fair - min(self.verifications * self.verify_tokens, fair // 4), 1)
        share = min(self.max_tokens or share, share)
        samples = await self.solutions(run.prompt("solve", task), self.n, run, max_tokens=share)
        run.answer(leader(run, samples))
        candidates = [s for s in samples if s.answered]
        if len({run.same(c) for c in candidates}) < 2:
            return leader(run, samples)
        return vote(run, candidates, await self._weights(task, run, candidates))

    @property
    def _prompt(self) -> str:
        return "verify" if self.scoring == "verdict" else "grade"

    async def _weights(self, task: Task, run: Run, candidates: list[Completion]) -> list[float] | None:
        pack, model = run.pack(self.judge_model), self.judge_model
        texts = list(dict.fromkeys(shown(candidate) for candidate in candidates))
        prompts = [run.prompt(self._prompt, task, model=model, answer=text) for text in texts]
        given = await judged(
            run, prompts, role=self._prompt, times=self.verifications, max_tokens=self.verify_tokens, model=model
        )
        read = pack.score if self.scoring == "grade" else pack.acceptance
        marks = [[mark for said in all_said if (mark := read(said.answer)) is not None] for all_said in given]
        weight = {text: fmean(own) if own else 0.0 for text, own in zip(texts, marks, strict=True)}
        weights = [weight[shown(candidate)] for candidate in candidates]
        if self.aggregate == "mean":
            voters = tally(run, candidates)
            weights = [w / voters[run.same(c)] for w, c in zip(weights, candidates, strict=True)]
        return weights if any(weights) else None
