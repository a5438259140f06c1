"""e3: spend a budget beyond the trained one on chained operations, generate → verify → refine (arXiv 2506.09026)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pydantic import Field

from decoders.base import Completion, Iterative, Run, Task
from decoders.core.choosing import shown, verdicts


@dataclass(slots=True)
class Candidate:
    """A proposed answer and what its verifications have said so far."""

    completion: Completion
    accepted: list[bool] = field(default_factory=list)
    rejections: list[str] = field(default_factory=list)
    """The newest round's verdicts against it."""

    @property
    def share(self) -> float:
        """The share of all its verdicts that accept it, 0 without any."""
        return sum(self.accepted) / max(len(self.accepted), 1)


class E3(Iterative):
    """y ~ p(· | x) in one chain of B tokens, B beyond the budget that the model was trained with.

    That is all that e3 is at test time (mode `chain`): the model was trained to chain its own checks and corrections,
    and the purse is the extrapolated budget B. Mode `loop` is our own prompt-level form for models without that
    training: y_0 ~ solve(x); v ~ verify(x, y_i); where v rejects, y_{i+1} ~ refine(x, y_i, v). It ends with a candidate
    that passed `passes` rounds in a row, after `rounds` rounds, or with the purse.
    """

    name: ClassVar[str] = "e3"
    paper: ClassVar[str] = "e3, arXiv 2506.09026; the mode `loop` is ours"

    mode: Literal["chain", "loop"] = "chain"
    """`chain` is one long completion, as in the paper; `loop` chains separate calls."""
    max_tokens: int | None = Field(default=None, ge=1)
    """In a chain: tokens at most; without it all of the budget."""
    rounds: int = Field(default=8, ge=1, le=1024)
    """In a loop: rounds of verification at most; each is followed by a refinement where the candidate fails."""
    solve_tokens: int = Field(default=16384, ge=1)
    """In a loop: tokens of the first candidate at most."""
    verify_tokens: int = Field(default=4096, ge=1)
    """In a loop: tokens of one verdict at most."""
    refine_tokens: int = Field(default=16384, ge=1)
    """In a loop: tokens of one refinement at most."""
    verifications: int = Field(default=1, ge=1, le=64)
    """In a loop: verdicts for a candidate in each round; more than half of them must accept it."""
    passes: int = Field(default=2, ge=1, le=64)
    """In a loop: stop when a candidate has passed this many rounds in a row."""
    returned: Literal["verified", "last"] = "verified"
    """In a loop: the candidate with the largest share of accepting verdicts (the newest of equals), or the last one."""
    verify_model: str | None = None
    """Another served model that verifies."""

    async def decode(self, task: Task, run: Run) -> Completion:
        """The chain is streamed as the answer; what the loop will return is known only at its end."""
        if self.mode == "loop":
            return await self._loop(task, run)
        chain = await self.solve(run.prompt("solve", task), run, max_tokens=self.max_tokens, final=True)
        run.answer(chain)
        return chain

    async def _loop(self, task: Task, run: Run) -> Completion:
        run.pack().require("refine_by_verdicts")
        run.pack(self.verify_model).require("verify")
        progress, passed = self.progress(task, run), 0
        prompt = run.prompt("solve", task)
        newest = Candidate(await self.solve(prompt, run, max_tokens=self.solve_tokens, reply=True))
        found = [newest]
        self._keep(found, run)
        stable = await progress.settled(newest.completion)
        for turn in range(1, self.rounds + 1):
            if stable:
                break
            passed = passed + 1 if await self._verify(newest, task, run) else 0
            self._keep(found, run)
            if passed == self.passes or turn == self.rounds:
                break
            if not passed:
                newest = await self._refine(newest, task, run)
                found.append(newest)
                self._keep(found, run)
                stable = await progress.settled(newest.completion)
        assert run.best is not None
        return run.best

    async def _verify(self, candidate: Candidate, task: Task, run: Run) -> bool:
        """Whether the candidate passes a round; one that was cut before it answered fails without being asked about."""
        if not candidate.completion.answered:
            return False
        times, tokens, model = self.verifications, self.verify_tokens, self.verify_model
        given = await verdicts(task, run, candidate.completion, times=times, max_tokens=tokens, model=model)
        accepted = [run.pack(model).accepts(verdict.answer) for verdict in given]
        candidate.accepted += accepted
        candidate.rejections = [v.answer.strip() for v, good in zip(given, accepted, strict=True) if not good]
        return 2 * sum(accepted) > len(accepted)

    async def _refine(self, candidate: Candidate, task: Task, run: Run) -> Candidate:
        done = candidate.completion
        prompt = run.prompt(
            "refine_by_verdicts",
            task,
            draft=done.reasoning or done.text,
            answer=shown(done) if done.answered else "",
            verdicts=candidate.rejections,
        )
        return Candidate(await self.solve(prompt, run, role="refine", max_tokens=self.refine_tokens, reply=True))

    def _keep(self, found: Sequence[Candidate], run: Run) -> None:
        """The answer should the purse end now. One that was cut never replaces another."""
        answered = [candidate for candidate in reversed(found) if candidate.completion.answered]
        if answered:
            last = self.returned == "last"
            run.answer((answered[0] if last else max(answered, key=lambda c: c.share)).completion)
        elif run.best is None:
            run.answer(found[-1].completion)
