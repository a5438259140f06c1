"""A run so far: its steps, votes, verdicts and purse, folded from its events.

Rule: the same events give the same picture, whether they come live, from the server's log or from a file.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from clients.events import Acted, Event, Finished, Kind, Said, StepEnded, Thought

_VOTERS: tuple[Kind, ...] = ("turn", "candidate")


@dataclass(slots=True)
class Step:
    """One step as far as it is told; only a longthink server tells its end."""

    key: str
    role: str = ""
    text: str = ""
    end: StepEnded | None = None
    acted: Acted | None = None

    @property
    def kind(self) -> Kind | None:
        """What it is for; None before its end is told."""
        return "action" if self.acted else self.end.kind if self.end else None


@dataclass(slots=True)
class Progress:
    """Everything that is known of a run; tell it each event once, in order."""

    steps: dict[str, Step] = field(default_factory=dict)
    text: str = ""
    finish: str | None = None
    budget: int | None = None
    spent: int = 0

    def tell(self, event: Event) -> None:
        """One more event."""
        if isinstance(event, Said):
            self.text += event.text
        elif isinstance(event, Finished):
            self.finish = event.finish
        elif isinstance(event, Thought):
            step = self._step(event.step, event.role)
            step.text += event.text if step.text else event.text.lstrip("\n")
        elif isinstance(event, StepEnded):
            self._step(event.step, event.role).end = event
            self.spent += event.tokens
            self.budget = event.budget
        else:
            self._step(event.step, "env").acted = event

    def close(self, budget: int | None, spent: int) -> None:
        """What the server says in the end, which also counts what no step told of."""
        self.budget, self.spent = budget or self.budget, spent

    def _step(self, key: str, role: str) -> Step:
        step = self.steps.setdefault(key, Step(key, role))
        step.role = step.role or role
        return step

    def of(self, *kinds: Kind) -> list[Step]:
        """The steps of these kinds, in the order in which they were first told of."""
        # a copy, because a view may be drawn in another thread
        return [step for step in list(self.steps.values()) if step.kind in kinds]

    @property
    def votes(self) -> Counter[str]:
        """How many turns and candidates gave each answer; a decoder's own votes may weigh them otherwise."""
        ends = [step.end for step in self.of(*_VOTERS) if step.end]
        return Counter(end.answer for end in ends if end.answer is not None)

    @property
    def verdicts(self) -> list[StepEnded]:
        """What judges have said."""
        return [step.end for step in self.of("verdict") if step.end]

    @property
    def left(self) -> int | None:
        """Tokens that the steps so far have left of the budget; None before anything is known of it."""
        return None if self.budget is None else max(self.budget - self.spent, 0)
