"""Puts a run's events into reading order. Rule: reasoning is told one step at a time, whatever runs side by side.

The step that started first is told as it is generated; what the others say meanwhile waits until their turn. So the
text is the same whether it is streamed or not, and however the steps interleave.

A run that another replica takes up is told from the beginning again. A narrator that is given what was `told` leaves
that out, by step, and goes on in the middle of a word; only an engine that does not repeat itself makes it start a step
anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from decoders.core.events import Acted, Answer, Delta, Event, StepFinished, StepStarted
from decoders.core.thinking import Channel
from server.happenings import happening

BREAK = "\n\n"


@dataclass(slots=True)
class Piece:
    """Text to show, by the step that it comes from."""

    kind: Literal["reasoning", "content", "step"]
    text: str
    key: str
    role: str
    channel: Channel = "answer"
    """Where the step said it."""
    about: Mapping[str, Any] | None = None
    """What happened in an episode, or what a step came to, for programs; such a piece is one of its own."""

    def continued_by(self, other: Piece) -> bool:
        """Whether the other one is more of the same."""
        places = {(piece.kind, piece.key, piece.role, piece.channel) for piece in (self, other)}
        return len(places) == 1 and self.about is None and other.about is None

    def fields(self) -> list[Any]:
        """As JSON has it; few pieces have the last field."""
        fields = [self.kind, self.text, self.key, self.role, self.channel]
        return fields if self.about is None else [*fields, self.about]


class Narrator:
    """One run's story: reasoning of all steps, and the answer part of final steps as content.

    With `finished` the end of each step is told as well, at once, whether or not it was the step's turn to speak.
    """

    def __init__(
        self, told: Iterable[Piece] = (), finished: Callable[[StepFinished], Mapping[str, Any]] | None = None
    ) -> None:
        self._ended = finished
        self.answer: Answer | None = None
        self._waiting: dict[str, list[Delta]] = {}
        self._finished: set[str] = set()
        self._told: tuple[str, str] | None = None
        self._content: list[str] = []
        self._pieces: list[Piece] = []
        self._said: dict[tuple[str, str], _Said] = {}
        self._happened: set[str] = set()
        self._concluded: set[str] = set()
        for piece in told:
            self._remember(piece)

    def tell(self, batch: Iterable[Event]) -> list[Piece]:
        """What there is to show after these events; neighbours of one kind and step come as one piece."""
        self._pieces = []
        for event in batch:
            if isinstance(event, Delta):
                self._delta(event)
            elif isinstance(event, StepStarted):
                self._waiting[event.key] = []
            elif isinstance(event, StepFinished):
                self._finished.add(event.key)
                self._turn(everything=False)
                self._finish(event)
            elif isinstance(event, Acted):
                self._act(event)
            else:
                self._turn(everything=True)
                self._end(event)
        return self._pieces

    def _remember(self, piece: Piece) -> None:
        place, text = (piece.key, piece.channel), piece.text
        if piece.kind == "step":
            self._concluded.add(piece.key)
            return
        if piece.about is not None:
            self._happened.add(piece.key)
            self._told = place
            return
        if piece.kind == "content":
            self._content.append(text)
        else:
            text = text if self._told in (None, place) else text.removeprefix(BREAK)
            self._told = place
        self._said.setdefault(place, _Said()).text += text

    def _delta(self, delta: Delta) -> None:
        if self._said and not (delta := self._unsaid(delta)).text:
            return
        if delta.final and delta.channel == "answer":
            self._content.append(delta.text)
            self._show("content", delta.text, delta)
        elif delta.key == next(iter(self._waiting), delta.key):
            self._reason(delta)
        else:
            self._waiting[delta.key].append(delta)

    def _unsaid(self, delta: Delta) -> Delta:
        """What of a delta has not been told before; without text where all of it has."""
        place = (delta.key, delta.channel)
        said = self._said.get(place)
        if said is None:
            return delta
        rest = said.text[said.matched :]
        if rest.startswith(delta.text):
            said.matched += len(delta.text)
            return replace(delta, text="")
        if delta.text.startswith(rest):
            del self._said[place]
            return replace(delta, text=delta.text[len(rest) :])
        if delta.final and delta.channel == "answer":
            return replace(delta, text="")  # the answer is told in full once it is there
        del self._said[place]
        return replace(delta, text=BREAK + said.text[: said.matched] + delta.text)

    def _turn(self, *, everything: bool) -> None:
        """Close finished steps from the front and let the next one speak."""
        while self._waiting and (everything or next(iter(self._waiting)) in self._finished):
            self._waiting.pop(next(iter(self._waiting)))
            following = next(iter(self._waiting.values()), [])
            for delta in following:
                self._reason(delta)
            following.clear()

    def _reason(self, delta: Delta) -> None:
        place = (delta.key, delta.channel)
        text = delta.text if self._told in (None, place) else BREAK + delta.text
        self._told = place
        self._show("reasoning", text, delta)

    def _act(self, event: Acted) -> None:
        text, about = happening(event)
        if event.act.key not in self._happened:
            text = text if self._told is None else BREAK + text
            self._pieces.append(Piece("reasoning", text, event.act.key, "env", about=about))
            self._told = (event.act.key, "answer")

    def _finish(self, event: StepFinished) -> None:
        if self._ended is not None and event.key not in self._concluded:
            self._pieces.append(Piece("step", "", event.key, event.role, about=self._ended(event)))

    def _end(self, answer: Answer) -> None:
        """Send what of the answer is not yet told; one that differs from what was told is told in full."""
        self.answer = answer
        text, told = answer.text, "".join(self._content)
        rest = text[len(told) :] if text.startswith(told) else BREAK + text
        if text and rest:
            self._pieces.append(Piece("content", rest, "", ""))

    def _show(self, kind: Literal["reasoning", "content"], text: str, delta: Delta) -> None:
        last = self._pieces[-1] if self._pieces else None
        if last is not None and (last.kind, last.key, last.channel) == (kind, delta.key, delta.channel):
            last.text += text
        else:
            self._pieces.append(Piece(kind, text, delta.key, delta.role, delta.channel))


@dataclass(slots=True)
class _Said:
    """What a step had told before it was taken over, and how much of it has come again."""

    text: str = ""
    matched: int = 0
