"""What is known of a request's answer, whoever asks: the generation that makes it, or the log of one that was made.

Rule: a response is written from a report and from the pieces before it, and from nothing else. So the same log gives
the same bytes, to every reader and on every replica.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
from pydantic import BaseModel, Field

from decoders.core.engine import Finish
from decoders.core.errors import LongThinkError
from decoders.core.events import Answer
from decoders.core.trace import Completion, Interaction, Usage
from server.narrator import Piece


class Cancelled(LongThinkError):
    """Somebody has asked for an end of the run."""


class Gone(LongThinkError):
    """The run was deleted while it was read."""


class Failed(LongThinkError):
    """The run has failed elsewhere; `error` is the error on the wire, with its `status`."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(str(error.get("message", "")))
        self.error = error


class Facts(BaseModel):
    """What is known at the end of a run: `ended` in seconds since the epoch, `error` as in `Failed`."""

    decoder: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    budget: int = 0
    usage: Usage = Field(default_factory=Usage)
    spent: int = 0
    ended: float = 0.0
    interaction: Interaction | None = None
    cancelled: bool = False
    cached: bool = False
    error: dict[str, Any] | None = None


class Report(ABC):
    """The answers to one request with what they cost; complete once `pieces` has been read to the end."""

    choices: int
    """How many answers there will be."""
    labels: tuple[str, ...] = ()
    """Of the tenants whose models had a part in it."""

    @abstractmethod
    def pieces(self) -> AsyncGenerator[list[tuple[int, Piece]], None]:
        """What there is to show, by choice, as it arrives; an empty list when something began without a word."""

    @abstractmethod
    def answer(self, index: int) -> Answer | None:
        """The answer of one choice, once it is there."""

    @abstractmethod
    def facts(self) -> Facts:
        """Everything else, as far as it is known."""

    async def reasoning(self) -> list[str]:
        """Read to the end; what was thought on the way, for each choice."""
        told = [list[str]() for _ in range(self.choices)]
        async with aclosing(self.pieces()) as merged:
            async for batch in merged:
                for index, piece in batch:
                    if piece.kind == "reasoning":
                        told[index].append(piece.text)
        return ["".join(texts) for texts in told]

    def completion(self, index: int) -> Completion | None:
        """The completion that became the answer of one choice, once it is there."""
        answer = self.answer(index)
        return answer.completion if answer else None

    def text(self, index: int) -> str:
        """The answer's text of one choice, empty before it is there."""
        answer = self.answer(index)
        return answer.text if answer else ""

    def finish(self, index: int) -> Finish:
        """Why one choice ended."""
        answer = self.answer(index)
        return answer.finish if answer else "length"

    def usage(self) -> Usage:
        """Exact counts, over all choices."""
        return self.facts().usage


class Writer(Protocol):
    """Writes one response as the server-sent events of a dialect."""

    def begin(self, index: int) -> bytes:
        """A choice begins."""
        ...

    def piece(self, index: int, piece: Piece) -> bytes:
        """Text of a choice."""
        ...

    def finish(self, index: int, *, last: bool) -> bytes:
        """A choice has its answer; `last` when all have."""
        ...

    def end(self) -> bytes:
        """What follows the last choice."""
        ...


class LastingWriter(Writer, Protocol):
    """Writes a response that can be asked for at any time, whatever became of it."""

    def failure(self, error: Exception) -> bytes:
        """What follows where the run has failed or was cancelled."""
        ...

    def body(self) -> bytes:
        """The object as it is now."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a run's log: what was shown, the answers that came, and in the last line the facts."""

    pieces: tuple[tuple[int, Piece], ...] = ()
    answers: Mapping[int, Answer] | None = None
    facts: Facts | None = None

    @classmethod
    def together(cls, entries: Sequence[Entry]) -> Entry:
        """Several as one: neighbouring pieces of one place become one piece."""
        pieces: list[tuple[int, Piece]] = []
        for index, piece in (told for entry in entries for told in entry.pieces):
            before, last = pieces[-1] if pieces else (-1, None)
            if last is not None and before == index and last.continued_by(piece):
                pieces[-1] = (index, dataclasses.replace(last, text=last.text + piece.text))
            else:
                pieces.append((index, piece))
        answers = {index: answer for entry in entries for index, answer in (entry.answers or {}).items()}
        return cls(tuple(pieces), answers)

    def dump(self) -> bytes:
        """As JSON."""
        line: dict[str, Any] = {"pieces": [[i, *p.fields()] for i, p in self.pieces]}
        if self.answers:
            line["answers"] = [
                [i, a.completion and a.completion.model_dump(mode="json"), a.finish] for i, a in self.answers.items()
            ]
        if self.facts is not None:
            line["facts"] = self.facts.model_dump(mode="json")
        return orjson.dumps(line)

    @classmethod
    def load(cls, data: bytes) -> Entry:
        """From JSON."""
        line = orjson.loads(data)
        answers = {
            i: Answer(None if done is None else Completion.model_validate(done), finish)
            for i, done, finish in line.get("answers", ())
        }
        facts = Facts.model_validate(line["facts"]) if "facts" in line else None
        return cls(tuple((i, Piece(*piece)) for i, *piece in line["pieces"]), answers, facts)


def told(entries: Iterable[Entry], choices: int) -> list[list[Piece]]:
    """What was shown of each choice."""
    found: list[list[Piece]] = [[] for _ in range(choices)]
    for entry in entries:
        for index, piece in entry.pieces:
            found[index].append(piece)
    return found
