"""The record of a run, in one versioned model: stream, usage, training rows, benchmarks and replay read from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from decoders.core.engine import Finish, TokenLogprob
from decoders.core.messages import ToolCall
from decoders.environments.base import Observation


class Completion(BaseModel):
    """What one call to an engine produced.

    `text` is everything as it was generated; `reasoning` and `answer` are its two sides of the thinking block.
    `answer_tokens` counts the tokens from the end of the thinking block on. `valid` is False where the caller asked for
    a structured answer and this is none.
    """

    model_config = ConfigDict(frozen=True)

    text: str
    reasoning: str = ""
    answer: str = ""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    confidences: tuple[float, ...] = ()
    """Each token's confidence, where the decoder asked for it."""
    tool_calls: tuple[ToolCall, ...] = ()
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    answer_tokens: int = 0
    finish: Finish = "stop"
    valid: bool = True

    @property
    def answered(self) -> bool:
        """Whether the model came to an end by itself and said something usable outside its thinking block."""
        return self.finish != "length" and self.valid and bool(self.tool_calls or self.answer.strip())

    @property
    def content(self) -> str:
        """The text that may be shown as a reply: the answer part."""
        return self.answer


class Step(BaseModel):
    """One call as recorded: what was asked, by which step of which decoder, and what came back."""

    model_config = ConfigDict(frozen=True)

    key: str
    """The path in the call tree, such as `3` or `1.0.2`; equal in every run of the same decoder on the same task."""
    role: str
    model: str
    prompt: str
    """Digest of the prompt."""
    messages: tuple[tuple[str, str], ...] = ()
    """Role and content of each message of the prompt."""
    prefix: str = ""
    tools: str = ""
    """The tools that the model was offered, as in `Prompt`."""
    called: dict[int, tuple[ToolCall, ...] | str] = Field(default_factory=dict)
    """By place in `messages`: the calls that a message makes, or the id of the call that it answers."""
    sampling: dict[str, Any] = Field(default_factory=dict)
    final: bool = False
    completion: Completion
    seconds: float = 0.0


class Act(BaseModel):
    """One action as recorded: what the agent did in its environment, and what it saw then.

    Without an action it is the episode's start. Without an observation the environment has not seen the action: an
    answer was withheld, or no interaction was left. An observation without `reached` did not come from the environment.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    """The path in the call tree, counted together with the steps."""
    action: str | None
    observation: Observation | None
    answer: str | None = None
    """The answer that the action gives, for actions that would end the episode with one."""
    withheld: bool = False
    """Whether the answer was kept back, so that the agent looks again."""
    reached: bool = False
    """Whether the environment has seen it."""
    seconds: float = 0.0


Record = Step | Act
"""What a journal is given."""
_RECORD: TypeAdapter[Record] = TypeAdapter(Record)


def read_record(data: bytes | str) -> Record:
    """A step or act from its JSON."""
    return _RECORD.validate_json(data)


Stopped = Literal["answer", "budget", "tokens", "env", "error", "cancelled"]
"""Why it ended: an answer, the last interaction or token (or the deadline), the environment, a failure, somebody."""


class Interaction(BaseModel):
    """What an agent has done with its interactions; an answer counts as one only where that is wanted."""

    budget: int
    steps: int = 0
    answers: int = 0
    stopped: Stopped | None = None
    reward: float | None = None
    """The sum of what the environment gave, None as long as it has given nothing."""

    @property
    def left(self) -> int:
        """Interactions that may still be made."""
        return max(self.budget - self.steps, 0)


class Usage(BaseModel):
    """Exact token counts of a run; `by_role` breaks the generated tokens down by the role of the step."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    steps: int = 0
    by_role: dict[str, int] = Field(default_factory=dict)

    @classmethod
    def total(cls, parts: Sequence[Usage]) -> Usage:
        """The sum of several runs' usage."""
        if len(parts) == 1:
            return parts[0]
        by_role: dict[str, int] = {}
        for part in parts:
            for role, tokens in part.by_role.items():
                by_role[role] = by_role.get(role, 0) + tokens
        counts = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "steps")
        return cls(**{name: sum(getattr(part, name) for part in parts) for name in counts}, by_role=by_role)


class Trace(BaseModel):
    """A whole run. `steps` and `acts` stand in the order in which they finished; replay looks them up by key.

    Version 2 has acts; without them a trace is the same in both.
    """

    version: Literal[1, 2] = 2
    id: str = ""
    model: str = ""
    decoder: dict[str, Any] = Field(default_factory=dict)
    pack: str = ""
    """Name and fingerprint of the template pack that rendered the prompts."""
    question: tuple[tuple[str, str], ...] = ()
    seed: int = 0
    budget: int = 0
    steps: list[Step] = Field(default_factory=list)
    acts: list[Act] = Field(default_factory=list)
    interaction: Interaction | None = None
    answer: Completion | None = None
    finish: Finish | None = None

    @property
    def records(self) -> list[Record]:
        """All that a run needs to be replayed."""
        return [*self.steps, *self.acts]

    def usage(self) -> Usage:
        """Sums over all steps; every generated token that is not part of the reply counts as reasoning."""
        done = [step.completion for step in self.steps]
        total = sum(c.completion_tokens for c in done)
        shown = self.answer.answer_tokens if self.answer else 0
        return Usage(
            prompt_tokens=sum(c.prompt_tokens for c in done),
            cached_tokens=sum(c.cached_tokens for c in done),
            completion_tokens=total,
            reasoning_tokens=total - shown,
            steps=len(done),
            by_role=_by_role(self.steps),
        )


def _by_role(steps: Iterable[Step]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for step in steps:
        totals[step.role] = totals.get(step.role, 0) + step.completion.completion_tokens
    return totals
