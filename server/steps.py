"""What a step of a run came to, for programs that show a run as it unfolds.

Rule: answers and verdicts are read as the decoders read them, by the template pack and never by a second reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from decoders.core.events import StepFinished
from decoders.core.run import Run
from decoders.core.trace import Step
from server.happenings import SHOWN, bounded

Kind = Literal["turn", "summary", "candidate", "verdict", "abstraction", "thought", "action", "step"]

KINDS: Mapping[str, Kind] = {
    "reason": "turn",
    "summarise": "summary",
    "solve": "candidate",
    "refine": "candidate",
    "aggregate": "candidate",
    "propose": "candidate",
    "coordinate": "candidate",
    "correct": "candidate",
    "answer": "candidate",
    "probe": "candidate",
    "verify": "verdict",
    "grade": "verdict",
    "examine": "verdict",
    "verify_step": "verdict",
    "grade_step": "verdict",
    "compare": "verdict",
    "judge": "verdict",
    "abstract": "abstraction",
    "think": "thought",
    "act": "action",
    "step": "step",
}
"""What a step is for, by its role."""


def finished(event: StepFinished, run: Run) -> Mapping[str, Any]:
    """The fields for a step that has just ended: its kind and tokens, its run's budget, what it said.

    `answer` is what votes compare; `verdict` is true or false, a mark from 0 to 1, or which candidate is preferred.
    """
    step = next(step for step in reversed(run.trace.steps) if step.key == event.key)
    kind = KINDS.get(step.role, "step")
    about: dict[str, Any] = {"event": "finished", "kind": kind, "tokens": event.tokens, "finish": event.finish}
    about["budget"] = run.trace.budget
    if kind == "verdict":
        about["verdict"] = _verdict(step, run)
    elif kind in ("turn", "candidate") and step.completion.answered:
        about["answer"] = bounded(run.same(step.completion), SHOWN)
    return about


def _verdict(step: Step, run: Run) -> bool | float | int | None:
    pack, reply = run.pack_of(step), step.completion.answer
    if step.role in ("verify", "verify_step"):
        return pack.accepts(reply)
    if step.role in ("grade", "grade_step", "examine"):
        return pack.score(reply)
    return 1 + pack.prefers_second(reply) if step.role == "compare" else pack.choice(reply)
