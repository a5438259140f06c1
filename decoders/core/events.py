"""What a running decoder tells the outside, as a tagged union of frozen dataclasses. `key` names the step."""

from __future__ import annotations

from dataclasses import dataclass

from decoders.core.engine import Finish
from decoders.core.thinking import Channel
from decoders.core.trace import Act, Completion


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A call to an engine begins; a `final` step is the one whose answer part is the reply."""

    key: str
    role: str
    final: bool


@dataclass(frozen=True, slots=True)
class Delta:
    """New text of a step; `tokens` counts the tokens it is made of (0 where a token spans two deltas)."""

    key: str
    role: str
    channel: Channel
    text: str
    tokens: int
    final: bool


@dataclass(frozen=True, slots=True)
class StepFinished:
    """A call has ended and is recorded; `replayed` when it was read from a trace instead of generated."""

    key: str
    role: str
    tokens: int
    finish: Finish
    replayed: bool


@dataclass(frozen=True, slots=True)
class Acted:
    """An episode has begun or gone on, or an answer was withheld; `steps` and `left` count interactions so far."""

    act: Act
    steps: int
    left: int
    replayed: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """The last event of every run that did not fail: the reply and why the run ended."""

    completion: Completion | None
    finish: Finish

    @property
    def text(self) -> str:
        """The reply's text, empty when the budget ended before there was any."""
        return self.completion.content if self.completion else ""


Event = StepStarted | Delta | StepFinished | Acted | Answer
