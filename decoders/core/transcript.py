"""An agent's conversation with its environment, as the model reads it. Rule: replies stay, old observations may go.

The pack's prompt `act` opens it; `observe` shows what an action has brought, `recheck` asks to look again after an
answer, `conclude` for the last word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from decoders.core.messages import Message, Prompt, ToolCall
from decoders.core.run import Run
from decoders.core.task import Task
from decoders.core.trace import Completion
from decoders.environments.base import Observation


@dataclass(frozen=True, slots=True)
class Seen:
    """What the agent was shown after an action; `call` is the id of the tool call that it answers."""

    how: Literal["observe", "recheck"]
    text: str
    call: str | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """A reply and what came of it."""

    reply: Message
    seen: tuple[Seen, ...]


@dataclass(slots=True)
class Transcript:
    """Grows turn by turn. The newest `keep` observations stand in it as they were, without a number all of them."""

    task: Task
    run: Run
    start: Observation
    keep: int | None = None
    turns: list[Turn] = field(default_factory=list)

    @property
    def newest(self) -> str:
        """What the agent sees now; results of tools stand where they are and are not shown again."""
        if self.start.tools:
            return ""
        return next((seen.text for turn in reversed(self.turns) for seen in reversed(turn.seen)), self.start.text)

    def add(self, reply: Message, seen: Sequence[Seen]) -> None:
        """What was said, and what it came to."""
        self.turns.append(Turn(reply, tuple(seen)))

    def prompt(self, *, last: bool) -> Prompt:
        """What the model is asked next; the `last` time it can do nothing more than to answer."""
        shown = 1 + sum(len(turn.seen) for turn in self.turns)
        old = 0 if self.keep is None else max(shown - self.keep, 0)
        opening = self._opening(omitted=old > 0)
        messages, place = list(opening.messages), 1
        for turn in self.turns:
            messages.append(turn.reply)
            for seen in turn.seen:
                text = self._filled(seen.how, observation=seen.text, omitted=place < old)
                messages.append(Message("tool" if seen.call else "user", text, tool_call_id=seen.call))
                place += 1
        if last:
            messages = also(messages, self._filled("conclude"))
        return replace(
            opening, messages=tuple(messages), tools="" if last or self.start.tools == "[]" else self.start.tools
        )

    def _opening(self, *, omitted: bool) -> Prompt:
        """What is asked is the environment's goal, so the question need not have the form that the pack knows."""
        goal, observation, tools = self.start.goal, self.start.text, bool(self.start.tools)
        task = replace(self.task, verbatim=True)
        return self.run.prompt("act", task, goal=goal, observation=observation, tools=tools, omitted=omitted)

    def _filled(self, name: str, **values: object) -> str:
        return words(self.run, name, tools=bool(self.start.tools), **values)


def words(run: Run, name: str, **values: object) -> str:
    """The text of a prompt that is one turn."""
    return run.pack().fill(name, **values)[0].content


def also(messages: Sequence[Message], text: str) -> list[Message]:
    """The messages with a further word of the user's, in the last turn where that is the user's already."""
    last = messages[-1]
    if last.role != "user":
        return [*messages, Message("user", text)]
    return [*messages[:-1], replace(last, content=f"{last.content}\n\n{text}")]


def said(reply: Completion, calls: Sequence[ToolCall] = (), *, thoughts: bool = False) -> Message:
    """A reply as it stands in the conversation: without its thinking block, unless `thoughts` are wanted."""
    text = reply.text if thoughts else reply.answer.strip()
    return Message("assistant", text or ("" if calls else reply.text.strip()), tool_calls=tuple(calls))


def restored(messages: Sequence[Message], hidden: Mapping[str, Sequence[Message]]) -> list[Message]:
    """The messages with hidden turns back in front of the calls that follow them."""
    whole: list[Message] = []
    for message in messages:
        for call in message.tool_calls:
            whole += hidden.get(call.id, ())
        whole.append(message)
    return whole
