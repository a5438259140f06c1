"""What happens in a run, as a client sees it: chunks of a chat completion read as events.

Rule: any OpenAI server's stream can be read; what only a longthink server tells is None or missing elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import Choice
from pydantic import Field

Kind = Literal["turn", "summary", "candidate", "verdict", "abstraction", "thought", "action", "step"]


@dataclass(frozen=True, slots=True)
class Thought:
    """More text of a step; steps side by side are told one after another."""

    step: str
    role: str
    text: str
    type: Literal["thought"] = "thought"


@dataclass(frozen=True, slots=True)
class StepEnded:
    """A step is over: a turn, a summary, a candidate, a verdict and so on. Told at once, perhaps before its text.

    `answer` is what votes compare. `verdict` is true or false, a mark from 0 to 1, or the number of what is preferred.
    """

    step: str
    role: str
    kind: Kind
    tokens: int
    finish: str
    budget: int
    answer: str | None = None
    verdict: bool | float | None = None
    type: Literal["step"] = "step"


@dataclass(frozen=True, slots=True)
class Acted:
    """Something happened in an agent's environment; `about` has the server's other fields, such as `reward`."""

    step: str
    event: str
    steps: int
    left: int
    action: str | None = None
    observation: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    type: Literal["acted"] = "acted"


@dataclass(frozen=True, slots=True)
class Said:
    """More text of the answer."""

    text: str
    type: Literal["said"] = "said"


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is complete; `finish` is `length` where a limit ended the run."""

    finish: str
    type: Literal["finished"] = "finished"


Event = Annotated[Thought | StepEnded | Acted | Said | Finished, Field(discriminator="type")]


def events(chunk: ChatCompletionChunk) -> Iterator[Event]:
    """What a chunk says of the first choice."""
    mark: Mapping[str, Any] = (chunk.model_extra or {}).get("longthink") or {}
    for choice in chunk.choices:
        if choice.index == 0:
            yield from _events(choice, mark)


def _events(choice: Choice, mark: Mapping[str, Any]) -> Iterator[Event]:
    more = choice.delta.model_extra or {} if choice.delta else {}
    reasoning = more.get("reasoning") or more.get("reasoning_content")
    happened = mark.get("event")
    if happened == "finished":
        yield StepEnded(**{name: mark[name] for name in StepEnded.__dataclass_fields__ if name in mark})
    elif happened is not None:
        yield _acted(mark)
    elif reasoning:
        yield Thought(mark.get("step", ""), mark.get("role", ""), reasoning)
    if choice.delta and choice.delta.content:
        yield Said(choice.delta.content)
    if choice.finish_reason:
        yield Finished(choice.finish_reason)


def _acted(mark: Mapping[str, Any]) -> Acted:
    known = ("step", "role", "event", "action", "observation", "n", "left")
    about = {name: value for name, value in mark.items() if name not in known}
    action, seen = mark.get("action"), mark.get("observation")
    return Acted(mark["step"], mark["event"], mark["n"], mark["left"], action, seen, about)
