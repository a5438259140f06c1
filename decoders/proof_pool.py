"""Generate, verify, refine: a pool of solutions, each marked several times, the best refined with their worst marks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import fmean
from typing import ClassVar

from pydantic import Field

from decoders.base import Completion, Iterative, Run, Task
from decoders.core.choosing import judged, leader, shown
from decoders.core.verification import checks, faults, numbered, steps


@dataclass(frozen=True, slots=True)
class Member:
    """A solution with the verifications that gave it a mark, the worst first, and their mean."""

    solution: Completion
    score: float
    verifications: tuple[str, ...]


class ProofPool(Iterative):
    """s(y) = mean of v marks in {0, ½, 1}; the answer is argmax s(y) over the pool, the newest of equals.

    Each round, n refinements y' ~ p(· | x, y, worst marks of y) of the best y join the pool, until some s(y) = 1. A
    solution that was cut before it ended is not verified; where there is none yet, the next round samples again.
    """

    name: ClassVar[str] = "proof_pool"
    paper: ClassVar[str] = "DeepSeekMath-V2, arXiv 2511.22570, at the size that QED-Nano uses"

    n: int = Field(default=4, ge=1, le=256)
    """Solutions sampled at first, and refinements in each round."""
    rounds: int = Field(default=2, ge=0, le=64)
    """Rounds of refinement at most."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens of one solution at most; without it an equal share of the budget."""
    verifications: int = Field(default=4, ge=1, le=64)
    """Marks for each solution."""
    shown_verifications: int = Field(default=2, ge=1, le=64)
    """How many of a solution's verifications, the worst ones, its refinement reads."""
    verify_tokens: int = Field(default=4096, ge=1)
    """Tokens of one verification at most."""
    verify_model: str | None = None
    """Another served model that verifies."""

    async def decode(self, task: Task, run: Run) -> Completion:
        """Each round may spend an equal share of what is left, or as much as its calls may take where that is known.

        So a small purse has fewer rounds of whole solutions, not as many of cut ones. Solutions leave half of a round's
        share to their marks.
        """
        run.pack(self.verify_model).require("examine")
        run.pack().require("refine_by_marks")
        progress, pool = self.progress(task, run), list[Member]()
        for rounds_left in range(self.rounds, -1, -1):
            purse = max(run.budget.left // (rounds_left + 1), min(self._full, run.budget.left))
            kept = run.budget.left - purse
            solutions = await self._solutions(task, run, pool, purse)
            if run.best is None:
                run.answer(leader(run, solutions))
            pool = await self._verified(task, run, pool, solutions, kept) + pool
            if pool:
                best = max(pool, key=lambda member: member.score)
                run.answer(best.solution)
                if best.score == 1 or await progress.settled(best.solution):
                    break
        assert run.best is not None
        return run.best

    @property
    def _full(self) -> int:
        """Tokens that a round may take at most; 0 where the length of a solution is not limited."""
        return self.n * (self.max_tokens + self.verifications * self.verify_tokens) if self.max_tokens else 0

    async def _solutions(self, task: Task, run: Run, pool: list[Member], purse: int) -> list[Completion]:
        n = min(self.n, max(purse * self.n // self._full, 1)) if self._full else self.n
        marking = min(n * self.verifications * self.verify_tokens, purse // 2)
        share = max((purse - marking) // n, 1)
        tokens = min(self.max_tokens or share, share)
        if not pool:
            return await self.solutions(run.prompt("solve", task), n, run, max_tokens=tokens)

        def refinement(member: Member) -> Callable[[Run], Awaitable[Completion]]:
            prompt = run.prompt(
                "refine_by_marks",
                task,
                answer=shown(member.solution),
                steps=numbered(steps(shown(member.solution), run.pack().boundary)),
                verifications=member.verifications[: self.shown_verifications],
            )
            return lambda branch: self.solve(prompt, branch, role="refine", max_tokens=tokens, reply=True)

        best = sorted(pool, key=lambda member: -member.score)[:n]
        refined = await run.parallel([refinement(best[i % len(best)]) for i in range(n)])
        return [solution for solution in refined if solution is not None]

    async def _verified(
        self, task: Task, run: Run, pool: list[Member], solutions: list[Completion], kept: int
    ) -> list[Member]:
        """The solutions that are new, with their marks; `kept` tokens of the purse are left to later rounds."""
        known = {shown(member.solution) for member in pool}
        new = {shown(s): s for s in reversed(solutions) if s.answered and shown(s) not in known}
        share = max((run.budget.left - kept) // max(len(new) * self.verifications, 1), 1)
        model = self.verify_model
        logged = {text: numbered(steps(text, run.pack().boundary)) for text in new}
        prompts = [run.prompt("examine", task, model=model, answer=text, steps=logged[text]) for text in new]
        given = await judged(
            run,
            prompts,
            role="examine",
            times=self.verifications,
            max_tokens=min(self.verify_tokens, share),
            model=model,
        )
        return [self._member(run, solution, said) for solution, said in zip(new.values(), given, strict=True)]

    def _member(self, run: Run, solution: Completion, given: list[Completion]) -> Member:
        """Verifications without a mark do not count; of equal marks, the one that objects to more steps is worse."""
        score = run.pack(self.verify_model).score
        marked = [(mark, said.answer.strip()) for said in given if (mark := score(said.answer)) is not None]
        worst_first = sorted(marked, key=lambda item: (item[0], -len(faults(checks(item[1])))))
        mean = fmean(mark for mark, _ in marked) if marked else 0.0
        return Member(solution, mean, tuple(text for _, text in worst_first))
