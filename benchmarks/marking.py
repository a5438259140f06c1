"""Whether answers are right: by the rule of their problem, or by a judge where there is no rule.

Rule: an answer is judged once. What was judged stands in the rows, and the same words are not judged again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from benchmarks.endpoint import Reply
from benchmarks.judge import Judge
from benchmarks.rows import Step
from benchmarks.tasks import Problem
from benchmarks.tasks.sets import Question


class Marker(Protocol):
    """Marks replies."""

    @property
    def judge(self) -> str | None:
        """The model that judges, None where rules do."""

    async def mark(self, problem: Problem, reply: Reply) -> Mapping[str, Any]:
        """The fields of the reply's row that say whether it is right. Raises `RequestFailed`."""


class Rules:
    """The problems' own checks, in threads: a hostile answer may take seconds."""

    judge = None

    async def mark(self, problem: Problem, reply: Reply) -> Mapping[str, Any]:
        """The answer, and every different answer of a step."""
        correct = await asyncio.to_thread(problem.check, reply.answer)
        if reply.steps is None:
            return {"correct": correct}
        right = {
            answer: await asyncio.to_thread(problem.check, answer)
            for answer in {s.answer for s in reply.steps}
            if answer
        }
        told = sorted(reply.steps, key=lambda step: place(step.step))
        steps = [
            Step(step=s.step, kind=s.kind, tokens=s.tokens, answer=s.answer, right=right.get(s.answer or "", False))
            for s in told
        ]
        return {"correct": correct, "steps": steps}


class Judged:
    """A judge, who is asked what no rule can tell."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    @property
    def judge(self) -> str | None:
        """The model's name."""
        return self._judge.model

    async def mark(self, problem: Problem, reply: Reply) -> Mapping[str, Any]:
        """The judge's verdict; an answer without words is wrong without being judged."""
        assert isinstance(problem, Question)  # a judge is for no other kind of task
        verdict, digest = await self._judge.verdict(problem.question, problem.answer, reply.answer)
        return {"correct": verdict == "right", "judge": self.judge, "verdict": verdict, "judged": digest}


def place(key: str) -> tuple[tuple[int, int], ...]:
    """What steps are sorted by: `1.0.2`, and `3~1` for what was drawn again at 3."""
    parts = (part.partition("~") for part in key.split("."))
    return tuple((int(number), int(again or 0)) for number, _, again in parts)
