"""Interventions: where a wrong attempt goes astray, and the one step that takes the place of the critical one.

Rule: what stands before that step is the policy's own, to the last character, and nothing of what followed it is kept.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmarks.tasks import Problem
from decoders.core.messages import Message
from decoders.core.run import Run
from decoders.core.task import Task
from decoders.core.verification import begins, checks, numbered, steps
from training.play import Play

_TAGGED = re.compile(r"<intervention\b([^<>]*)>((?:(?!<intervention\b).)*?)</intervention>", re.DOTALL | re.IGNORECASE)
_BREAK = re.compile(r"\s*\n\s*")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A wrong reply to a problem, which consists of steps between boundaries, and what is known to be right."""

    problem: Problem
    text: str
    reference: str
    boundary: str

    @property
    def steps(self) -> list[str]:
        """Its steps; interventions name them by number."""
        return steps(self.text, self.boundary)

    def spliced(self, intervention: Intervention) -> str | None:
        """The attempt up to before the critical step, and the intervention; None where it has no such step.

        Each line of the intervention is a paragraph, as attempts in prose are cut.
        """
        places = begins(self.text, self.boundary)
        if not 1 <= intervention.step <= len(places):
            return None
        return self.text[: places[intervention.step - 1]] + _BREAK.sub("\n\n", intervention.content)


@dataclass(frozen=True, slots=True)
class Intervention:
    """What to think instead of a step; steps count from 1."""

    step: int
    content: str


Proposer = Callable[[Attempt, Play], Awaitable[list[Intervention]]]
"""Looks for the critical step of an attempt; each intervention is a proposal of its own."""


def parse(reply: str) -> Intervention | None:
    """The last intervention in a reply, whatever stands around its step's number; drafts before it do not count.

    Where the tag names no step, it is the first one that the log in the reply calls wrong.
    """
    if not (found := _TAGGED.findall(reply)):
        return None
    where, content = found[-1]
    number = re.search(r"\d{1,6}", where)
    wrong = (check.step for check in checks(reply) if check.finding == "wrong")
    step = int(number[0]) if number else next(wrong, 0)
    return Intervention(step, content.strip()) if content.strip() else None


@dataclass(frozen=True, slots=True)
class Asked:
    """The policy itself: it works the reference out, then examines the numbered steps of the attempt.

    `proposals` replies of at most `max_tokens` each. Raises `MissingPrompt` where the template pack does not know how.
    """

    proposals: int
    max_tokens: int

    async def __call__(self, attempt: Attempt, play: Play) -> list[Intervention]:
        """What can be read of the replies."""
        run = play.run((1 + self.proposals) * self.max_tokens)
        task = play.task(attempt.problem)

        async def ask(run: Run) -> list[str]:
            request = run.prompt("rework", task, reference=attempt.reference)
            reworked = await run.generate(request, role="rework", max_tokens=self.max_tokens)
            said = Message("assistant", reworked.answer)
            behind = Task((*request.messages, said, *task.messages))
            asked = run.prompt("intervene", behind, steps=numbered(attempt.steps))
            done = await run.sample(asked, self.proposals, role="intervene", max_tokens=self.max_tokens)
            return [completion.answer for completion in done]

        replies = await play.drive(run, ask) or []
        return [found for reply in replies if (found := parse(reply)) is not None]
