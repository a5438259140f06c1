"""RLAD: propose abstractions of the problem, solve it under each of them, choose (arXiv 2510.02263)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import ClassVar, Literal

from pydantic import Field

from decoders.base import Completion, Prompt, Run, Solving, Task
from decoders.core.choosing import accepted, tally, vote
from decoders.core.errors import BudgetExhausted
from decoders.core.leaks import TELLING, leaks

Group = list[Completion]
"""Solutions made under one abstraction, or without any."""


class RLAD(Solving):
    """z_i ~ π_abs(· | x), y_ij ~ π_sol(· | x, z_i) for i = 1 … m, j = 1 … k, beside k' solutions y_0j ~ π_sol(· | x).

    The paper reports the mean over abstractions and the best of them; which one is best a server cannot know, so the
    selectors are ours. Ours too: the filters for abstractions, whose solutions go to those that are left, and without
    any left to plain ones; and the plan, which fits m and k to the purse. The paper finds that abstractions pay more
    than solutions where the budget is large. So a smaller purse has fewer abstractions first, then fewer solutions
    under the only one, and in the end none but plain solutions.
    """

    name: ClassVar[str] = "rlad"
    paper: ClassVar[str] = "RLAD, arXiv 2510.02263; the selectors, the plan and the filters are ours"

    abstractions: int = Field(default=4, ge=0, le=256)
    """Abstractions m at most."""
    per_abstraction: int = Field(default=4, ge=1, le=256)
    """Solutions k under each abstraction at most."""
    plain: int = Field(default=1, ge=0, le=256)
    """Solutions k' without an abstraction. They have a vote, and no abstraction may say what they answer."""
    abstraction_tokens: int = Field(default=1024, ge=1)
    """Tokens of one abstraction at most."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens of one solution at most; without it an equal share of the budget."""
    least_tokens: int = Field(default=2048, ge=1)
    """Tokens that the plan must be able to give to each solution."""
    shortest: int = Field(default=40, ge=1)
    """Abstractions of fewer characters are dropped."""
    abstraction_model: str | None = None
    """Another served model that writes the abstractions; one that does not think first does it best."""
    selector: Literal["vote", "group", "verifier"] = "vote"
    """`vote` over all solutions; `group`: the answer on which the most solutions of one abstraction agree;
    `verifier`: the answer with the largest share of accepting verdicts, by votes among equals."""
    verifications: int = Field(default=1, ge=1, le=64)
    """For the verifier: verdicts for each different answer."""
    verify_tokens: int = Field(default=2048, ge=1)
    """For the verifier: tokens of one verdict at most."""
    verify_model: str | None = None
    """Another served model that verifies."""

    async def decode(self, task: Task, run: Run) -> Completion:
        """Abstractions and plain solutions side by side, then the solutions under each abstraction side by side."""
        m, k = self.plan(run.budget.left)
        bare = self.plain if m else max(self.plain, 1)
        share = self._share(run.budget.left, m, m * k + bare)
        if self.selector == "verifier":
            run.pack(self.verify_model).require("verify")
        question = run.prompt("solve", task)
        if not m:
            return await self._choose([await self._group(question, bare, run, share)], task, run)
        run.pack().require("solve_with_abstraction")
        request = run.prompt("abstract", task, model=self.abstraction_model)

        async def abstract(branch: Run) -> Group:
            size, model = self.abstraction_tokens, self.abstraction_model
            return await branch.sample(request, m, role="abstract", max_tokens=size, model=model)

        async def solve(branch: Run) -> Group:
            return await self._group(question, bare, branch, share) if bare else []

        proposed, plain = await run.parallel([abstract, solve])
        kept = self._kept(proposed or [], plain or [], task, run)
        return await self._choose([plain or [], *await self._solutions(kept, m * k, task, run, share)], task, run)

    def plan(self, purse: int) -> tuple[int, int]:
        """The abstractions and the solutions under each that the purse holds; (0, 0) where it holds plain ones only."""
        fewer = [(m, self.per_abstraction) for m in range(self.abstractions, 0, -1)]
        fewer += [(1, k) for k in range(self.per_abstraction - 1, 0, -1)] if fewer else []
        least = min(self.least_tokens, self.max_tokens or self.least_tokens)
        cost = ((m, k, m * self.abstraction_tokens + (m * k + self.plain) * least) for m, k in fewer)
        return next(((m, k) for m, k, tokens in cost if tokens <= purse), (0, 0))

    def _share(self, purse: int, m: int, solutions: int) -> int:
        """Tokens of one solution at most. A verifier needs some too, but no more than a quarter of a solution's."""
        fair = (purse - m * self.abstraction_tokens) // solutions
        if self.selector == "verifier":
            fair -= min(self.verifications * self.verify_tokens, fair // 4)
        return max(min(fair, self.max_tokens or fair), 1)

    def _kept(self, proposed: Sequence[Completion], plain: Sequence[Completion], task: Task, run: Run) -> list[str]:
        """The abstractions that are long enough, different, and give no answer away."""
        answers = {run.same(solution) for solution in plain if solution.answered}
        telling = [answer for answer in answers if len(answer) >= TELLING and answer not in task.question]
        texts = dict.fromkeys(abstraction.answer.strip() for abstraction in proposed)
        return [text for text in texts if len(text) >= self.shortest and not leaks(text, telling, run.format)]

    async def _solutions(self, kept: Sequence[str], n: int, task: Task, run: Run, share: int) -> list[Group]:
        """`n` solutions in all, evenly under the abstractions that are left, or plain ones."""
        prompts = [run.prompt("solve_with_abstraction", task, abstraction=text) for text in kept]
        prompts = prompts or [run.prompt("solve", task)]

        def under(index: int) -> Callable[[Run], Awaitable[Group]]:
            size = n // len(prompts) + (index < n % len(prompts))
            return lambda branch: self._group(prompts[index], size, branch, share)

        return [group for group in await run.parallel([under(i) for i in range(len(prompts))]) if group]

    async def _group(self, prompt: Prompt, n: int, run: Run, share: int) -> Group:
        found = await self.solutions(prompt, n, run, max_tokens=share)
        run.answer(next((solution for solution in found if solution.answered), found[0]))
        return found

    async def _choose(self, groups: Sequence[Group], task: Task, run: Run) -> Completion:
        answered = [[solution for solution in group if solution.answered] for group in groups]
        candidates = list(chain.from_iterable(answered))
        if not candidates:
            if run.best is None:
                raise BudgetExhausted("the budget ended before any solution was begun")
            return run.best
        if self.selector == "group":
            candidates = max((group for group in answered if group), key=lambda group: max(tally(run, group).values()))
        winner = vote(run, candidates)
        run.answer(winner)
        if self.selector == "verifier":
            times, size, model = self.verifications, self.verify_tokens, self.verify_model
            scores = await accepted(task, run, candidates, times=times, max_tokens=size, model=model)
            votes = tally(run, candidates)
            winner = max(candidates, key=lambda candidate: (scores[run.same(candidate)], votes[run.same(candidate)]))
            run.answer(winner)
        return winner
