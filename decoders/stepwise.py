"""What searches over steps share: replies that grow step by step, and a process reward for each step.

Rule: a step ends with the `step` mark, which stays in the text, or at `step_tokens`; a reply that the model ends itself
is done.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import ClassVar, Literal

from pydantic import Field

from decoders.base import Completion, Decoder, Honour, Run, Task
from decoders.core.draft import Draft
from decoders.core.engine import Chunk, Feature
from decoders.core.errors import BudgetExhausted


@dataclass(frozen=True, slots=True)
class Path:
    """A reply as far as it has come, with the reward of each of its steps."""

    draft: Draft = field(default_factory=Draft)
    rewards: tuple[float, ...] = ()

    @property
    def done(self) -> bool:
        """Whether the model has ended the reply."""
        return bool(self.draft.calls) and self.draft.calls[-1].finish == "stop"


class StepEnd:
    """Ends a call once its text holds the mark; white space in front of all text belongs to the step before."""

    def __init__(self, mark: str) -> None:
        self._mark, self._text = mark, ""

    def __call__(self, chunk: Chunk) -> bool:
        """Whether the step is complete."""
        self._text = (self._text + chunk.text).lstrip()
        return self._mark in self._text


class Stepwise(Decoder):
    """A search over replies that grow step by step; the model, or another one, marks what is written so far."""

    needs: ClassVar[frozenset[Feature]] = frozenset({"prefix"})
    honours: ClassVar[frozenset[Honour]] = frozenset({"images"})

    steps: int = Field(default=40, ge=1, le=1024)
    """Steps of a reply at most."""
    step_tokens: int = Field(default=2048, ge=1)
    """Tokens of one step at most."""
    step: str = Field(default="\n\n", min_length=1)
    """The text that ends a step."""
    scoring: Literal["grade", "verdict"] = "grade"
    """A step's reward: the mean of marks from 0 to 1, or the share of verdicts that find no mistake so far."""
    verifications: int = Field(default=1, ge=1, le=64)
    """Marks or verdicts for each step."""
    verify_tokens: int = Field(default=1024, ge=1)
    """Tokens of one mark or verdict at most."""
    judge_model: str | None = None
    """Another served model that judges."""
    aggregate: Literal["last", "min", "prod"] = "last"
    """A reply's score from its steps' rewards: the last one, the smallest one, or their product."""

    def score(self, path: Path) -> float:
        """The reward of a reply as far as it has come."""
        rewards = path.rewards or (0.0,)
        return {"last": rewards[-1], "min": min(rewards), "prod": math.prod(rewards)}[self.aggregate]

    def check(self, run: Run) -> None:
        """Raises `MissingPrompt` where the judge's pack cannot mark a step."""
        run.pack(self.judge_model).require(self._prompt)

    async def advance(self, task: Task, run: Run, paths: Sequence[Path]) -> list[Path]:
        """Each of the paths one rewarded step longer, side by side; those that are done stay, and all in their order.

        Paths for which the purse does not last are left out. Raises `BudgetExhausted` where none could go on.
        """

        def step(path: Path) -> Callable[[Run], Awaitable[Path]]:
            async def one(branch: Run) -> Path:
                return await self._step(task, branch, path)

            return one

        grown = await run.parallel([step(path) for path in paths if not path.done])
        if grown and not any(grown):
            raise BudgetExhausted("the budget ended before any of the paths could go on")
        following = iter(grown)
        kept = (path if path.done else next(following) for path in paths)
        return [path for path in kept if path is not None]

    def show(self, run: Run, paths: Sequence[Path]) -> Completion:
        """Keep the best path as the answer so far: of those that are done, or of all where none is."""
        best = max([path for path in paths if path.done] or paths, key=self.score).draft.completion()
        run.answer(best)
        return best

    @property
    def _prompt(self) -> str:
        return "grade_step" if self.scoring == "grade" else "verify_step"

    async def _step(self, task: Task, run: Run, path: Path) -> Path:
        share = max(run.budget.left - min(self.verifications * self.verify_tokens, run.budget.left // 4), 1)
        prompt, tokens = run.prompt("solve", task), min(self.step_tokens, share)
        draft = await path.draft.extend(prompt, run, role="step", max_tokens=tokens, until=StepEnd(self.step))
        return Path(draft, (*path.rewards, await self._reward(task, run, draft.completion())))

    async def _reward(self, task: Task, run: Run, sofar: Completion) -> float:
        """0 where the purse ends before the first mark."""
        pack, model = run.pack(self.judge_model), self.judge_model
        prompt = run.prompt(self._prompt, task, model=model, reasoning=sofar.reasoning, answer=sofar.answer)
        try:
            given = await run.sample(
                prompt, self.verifications, role=self._prompt, max_tokens=self.verify_tokens, model=model
            )
        except BudgetExhausted:
            return 0.0
        read = pack.score if self.scoring == "grade" else pack.accepts
        return fmean(float(read(verdict.answer) or 0.0) for verdict in given)
