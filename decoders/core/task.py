"""What a run is about: the conversation to answer, what the reply may be, and the models it may call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from decoders.core.engine import Engine
from decoders.core.messages import Attachment, Message, Prompt, ToolCall
from decoders.core.structure import keeps, matches
from decoders.prompts import Pack


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked: a conversation, in which the last message of the user's is the question.

    What stands behind the question are tool calls on its behalf and their results. A `verbatim` task is a prompt that
    an outer decoder has already rendered: an inner decoder asks it as it is. Only decoders that honour "prompt" get a
    task with a `prefix`, the beginning of the reply, or with nothing but a `prompt` to complete.
    """

    messages: tuple[Message, ...] = ()
    verbatim: bool = False
    prefix: str = ""
    prompt: Prompt | None = None

    @property
    def question(self) -> str:
        """The question's text."""
        return self.messages[self._place].content

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """What the question shows beside its text."""
        return self.messages[self._place].attachments

    @property
    def history(self) -> tuple[Message, ...]:
        """What was said before the question."""
        return self.messages[: self._place]

    @property
    def since(self) -> tuple[Message, ...]:
        """What was said after the question."""
        return self.messages[self._place :][1:]

    def attach(self, rendered: Sequence[Message]) -> tuple[Message, ...]:
        """A prompt's messages, the first of the user's with the question's attachments where they stood in it."""
        if not self.attachments:
            return tuple(rendered)
        place, message = next((i, message) for i, message in enumerate(rendered) if message.role == "user")
        begin = message.content.find(self.question)
        shown = tuple(replace(shown, at=begin + shown.at if begin >= 0 else 0) for shown in self.attachments)
        return (*rendered[:place], replace(message, attachments=shown), *rendered[place + 1 :])

    @property
    def _place(self) -> int:
        """Where the question stands; the last message where none is the user's."""
        places = (i for i in range(len(self.messages) - 1, -1, -1) if self.messages[i].role == "user")
        return next(places, -1)

    @property
    def wishes(self) -> frozenset[str]:
        """What of the conversation is more than text, in the words of `Decoder.honours`."""
        found = {
            "images": any(message.attachments for message in self.messages),
            "tools": any(message.tool_calls or message.role == "tool" for message in self.messages),
        }
        return frozenset(name for name, there in found.items() if there)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the caller wants of the reply: it applies to steps that may become the reply, and to no others.

    `sampling` holds fields of `Sampling`: `stop`, `logprobs`, `structure`. `tools`, `tool_choice` are as in `Prompt`.
    """

    sampling: Mapping[str, object] = field(default_factory=dict)
    tools: str = ""
    tool_choice: str = ""
    answer_format: str = ""
    """One of the template pack's answer formats; empty for the pack's own."""
    one_call: bool = False
    """At most one tool call: further ones are left out."""
    raw: bool = False
    """The reply is the text as it was generated: a thinking block is not told apart."""

    @property
    def structure(self) -> str:
        """The response format, empty for free text."""
        return str(self.sampling.get("structure", ""))

    def takes(self, answer: str, calls: Sequence[ToolCall]) -> bool:
        """Whether a complete reply has the form that is wanted; with tool calls it need not be an answer."""
        if calls:
            return all(keeps(self.tools, call.name, call.arguments) for call in calls)
        return matches(self.structure, answer)

    @property
    def wishes(self) -> frozenset[str]:
        """What is wanted beside text, in the words of `Decoder.honours`."""
        found = {name: name in self.sampling for name in ("logprobs", "stop")}
        found |= {"structure": bool(self.structure), "tools": bool(self.tools)}
        return frozenset(name for name, wanted in found.items() if wanted)


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a run may call: its engine and the prompts it understands."""

    engine: Engine
    pack: Pack
