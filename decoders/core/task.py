"""What a run is about: the conversation to answer, and the models it may call."""

from __future__ import annotations

from dataclasses import dataclass

from decoders.core.engine import Engine
from decoders.core.messages import Message
from decoders.prompts import Pack


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked: a conversation whose last message is the question."""

    messages: tuple[Message, ...]

    @property
    def question(self) -> str:
        """The last message's text."""
        return self.messages[-1].content

    @property
    def history(self) -> tuple[Message, ...]:
        """What was said before the question."""
        return self.messages[:-1]


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a run may call: its engine and the prompts it understands."""

    engine: Engine
    pack: Pack
