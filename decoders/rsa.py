"""RSA, recursive self-aggregation: a population of solutions, each round made anew from random subsets of the last."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar, Literal

from pydantic import Field

from decoders.base import Completion, Iterative, Run, Task
from decoders.core.choosing import accepted, knock_out, leader, shown, tally, vote


class RSA(Iterative):
    """P_1 = {y_i ~ p(· | x)}, P_{t+1} = {y_i ~ p(· | x, S_i)}, S_i ⊂ P_t with |S_i| = k, for i = 1 … N, t = 1 … T - 1.

    The answer is chosen from P_T. With k = 1 it is self-refinement of N chains. Where the budget does not hold it all,
    rounds are given up first (two are kept), then members (k are kept), then the members' length.
    """

    name: ClassVar[str] = "rsa"
    paper: ClassVar[str] = "Recursive Self-Aggregation, arXiv 2509.26626"

    population: int = Field(default=16, ge=1, le=256)
    """Members N of the population."""
    subset: int = Field(default=4, ge=1, le=64)
    """Members k, drawn at random, that each new member is made of."""
    rounds: int = Field(default=10, ge=1, le=256)
    """Populations T; the first is sampled from the problem alone."""
    max_tokens: int = Field(default=8192, ge=1)
    """Tokens of one member at most."""
    choose: Literal["majority", "random", "verified", "tournament"] = "majority"
    """How the answer is chosen from the last population: by vote, by lot, by verdicts, by pairwise knock-out."""
    verifications: int = Field(default=1, ge=1, le=64)
    """Verdicts for each different answer, with `verified`."""
    verify_tokens: int = Field(default=2048, ge=1)
    """Tokens of one verdict or comparison at most."""
    verify_model: str | None = None
    """Another served model that verifies or compares."""

    async def decode(self, task: Task, run: Run) -> Completion:
        """The paper's loop; a round that the budget does not hold is not begun."""
        run.pack().require("aggregate")
        run.pack(self.verify_model).require(*self._judging)
        kept = run.budget.left // 4 if self._judging else 0
        members, tokens = self._plan(run.budget.left - kept)
        progress = self.progress(task, run)
        population = await self.solutions(run.prompt("solve", task), members, run, max_tokens=tokens)
        run.answer(leader(run, population))
        for _ in range(1, self.rounds):
            if await progress.settled(leader(run, population)) or run.budget.left - kept < members * tokens:
                break
            population = await self._aggregates(task, run, population, tokens)
            run.answer(leader(run, population))
        return await self._chosen(task, run, population)

    @property
    def _judging(self) -> tuple[str, ...]:
        """The prompts that choosing needs."""
        return {"verified": ("verify",), "tournament": ("compare",)}.get(self.choose, ())

    def _plan(self, purse: int) -> tuple[int, int]:
        """Members and the tokens of each, so that two rounds at least fit into the purse."""
        share = purse // min(self.rounds, 2)
        members = min(self.population, max(share // self.max_tokens, self.subset))
        return members, max(min(self.max_tokens, share // members), 1)

    async def _aggregates(self, task: Task, run: Run, population: list[Completion], tokens: int) -> list[Completion]:
        def member(chosen: list[Completion]) -> Callable[[Run], Awaitable[Completion]]:
            async def one(branch: Run) -> Completion:
                candidates = [
                    {"text": shown(c) or c.reasoning.strip(), "finished": c.finish != "length"} for c in chosen
                ]
                prompt = branch.prompt("aggregate", task, candidates=candidates)
                return await self.solve(prompt, branch, role="aggregate", max_tokens=tokens, reply=True)

            return one

        size = min(self.subset, len(population))
        made = await run.parallel([member(run.rng.sample(population, size)) for _ in population])
        return [new or old for new, old in zip(made, population, strict=True)]

    async def _chosen(self, task: Task, run: Run, population: list[Completion]) -> Completion:
        candidates = [member for member in population if member.answered]
        if not candidates:
            return run.best or population[0]
        match self.choose:
            case "majority":
                return vote(run, candidates)
            case "random":
                return run.rng.choice(candidates)
            case "tournament":
                return await knock_out(task, run, candidates, max_tokens=self.verify_tokens, model=self.verify_model)
        scores, votes = await self._accepted(task, run, candidates), tally(run, candidates)
        return max(candidates, key=lambda c: (scores[run.same(c)], votes[run.same(c)]))

    async def _accepted(self, task: Task, run: Run, candidates: list[Completion]) -> dict[str, float]:
        times, tokens, model = self.verifications, self.verify_tokens, self.verify_model
        return await accepted(task, run, candidates, times=times, max_tokens=tokens, model=model)
