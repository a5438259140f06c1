"""Splits a completion into its reasoning (inside <think> … </think>) and its answer (after it)."""

from __future__ import annotations

from typing import Literal

Channel = Literal["reasoning", "answer"]
_State = Literal["start", "opening", "reasoning", "gap", "answer"]

OPEN, CLOSE = "<think>", "</think>"


class ThinkingSplitter:
    """Incremental: feed text as it arrives, get `(channel, text)` pieces; a tag cut in two is held back until whole.

    A completion that does not begin with <think> is all answer, unless the chat template has opened the block
    already (`inside`). White space around the tags belongs to neither side. A `raw` text is all answer, tags and all.
    """

    def __init__(self, *, inside: bool = False, raw: bool = False) -> None:
        self._state: _State = "answer" if raw else "opening" if inside else "start"
        self._held = ""

    @property
    def channel(self) -> Channel:
        """Where the next text would go, as far as is known."""
        return "reasoning" if self._state in ("opening", "reasoning") else "answer"

    def feed(self, text: str) -> list[tuple[Channel, str]]:
        """Take the next piece of text."""
        if not self._held and self._passes(text):
            return [(self.channel, text)]
        pieces: list[tuple[Channel, str]] = []
        self._held += text
        while self._held:
            before = (self._state, len(self._held))
            self._advance(pieces)
            if before == (self._state, len(self._held)):
                break
        return pieces

    def finish(self) -> list[tuple[Channel, str]]:
        """The completion has ended: what was held back is text after all."""
        held, self._held = self._held, ""
        return [(self.channel, held)] if held.strip() else []

    def _passes(self, text: str) -> bool:
        """Whether the text is plainly more of the same side; asked for every token, and nearly always so."""
        if self._state == "reasoning":
            return text != "" and CLOSE[0] not in text and not text[-1].isspace()
        return self._state == "answer" and text != ""

    def _advance(self, pieces: list[tuple[Channel, str]]) -> None:
        """One step of the automaton: start → opening → reasoning → gap → answer."""
        if self._state == "start":
            stripped = self._held.lstrip()
            if stripped.startswith(OPEN):
                self._held, self._state = stripped[len(OPEN) :], "opening"
            elif not OPEN.startswith(stripped):
                self._state = "answer"
        elif self._state in ("opening", "gap"):
            self._held = self._held.lstrip()
            if self._held:
                self._state = "reasoning" if self._state == "opening" else "answer"
        elif self._state == "reasoning":
            head, tag, tail = self._held.partition(CLOSE)
            ready = head[: len(head) - (0 if tag else overlap(head, CLOSE))].rstrip()
            if ready:
                pieces.append(("reasoning", ready))
            self._held, self._state = (tail, "gap") if tag else (head[len(ready) :], "reasoning")
        else:
            pieces.append(("answer", self._held))
            self._held = ""


def split(text: str, *, inside: bool = False) -> tuple[str, str]:
    """`(reasoning, answer)` of a whole completion; an unclosed thinking block has an empty answer."""
    splitter = ThinkingSplitter(inside=inside)
    pieces = splitter.feed(text) + splitter.finish()
    reasoning = "".join(t for channel, t in pieces if channel == "reasoning")
    return reasoning, "".join(t for channel, t in pieces if channel == "answer")


def overlap(text: str, mark: str) -> int:
    """How many characters at the end of `text` could be the beginning of `mark`."""
    longest = min(len(mark) - 1, len(text))
    if mark[0] not in text[len(text) - longest :]:  # the hot path: this is asked for every token
        return 0
    return next((n for n in range(longest, 0, -1) if mark.startswith(text[-n:])), 0)
