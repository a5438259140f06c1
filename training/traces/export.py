"""`longthink traces export`: what a server was paid for once, as solutions to train from.

Rule: nothing leaves the store that its caller has not allowed to be learned from, and nothing that the checker of a
problem's task does not take. Without a word of consent there is none.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from benchmarks.tasks import Problem
from benchmarks.tasks.mined import Place
from server import traces as store
from training.traces import Solution, place
from training.traces.sources import winner


@dataclass
class Told:
    """How many runs were seen, and how many of those were of no use, by the first reason there is."""

    runs: int = 0
    refused: int = 0
    others: int = 0
    wrong: int = 0
    exported: int = 0

    def __str__(self) -> str:
        return (
            f"{self.exported} solutions of {self.runs} finished runs: {self.refused} without consent, {self.others} of "
            f"other questions, {self.wrong} without a right answer whose token ids are known"
        )


async def export(
    url: str, prefix: str, pool: Place, problems: Sequence[Problem], told: Told
) -> AsyncGenerator[Solution, None]:
    """The first right reply of each run that asks for one of these problems."""
    known = {" ".join(problem.question.split()).lower(): problem for problem in problems}
    async with aclosing(store.open_kept(url, prefix)) as kept, aclosing(store.finished(kept)) as runs:
        async for run in runs:
            told.runs += 1
            problem = known.get(" ".join(run.question.split()).lower())
            if not run.allowed:
                told.refused += 1
                continue
            if problem is None:
                told.others += 1
                continue
            step = winner(problem, run.steps)
            if step is None or not step.completion.token_ids:
                told.wrong += 1
                continue
            told.exported += 1
            done = step.completion
            yield Solution(
                **place(problem, pool),
                solution=done.answer.strip(),
                reply=done.text,
                token_ids=done.token_ids,
                model=step.model,
                decoder=run.decoder,
                origin="served",
            )
