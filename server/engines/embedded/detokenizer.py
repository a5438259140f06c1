"""Tokens to text as they arrive. Rule: the pieces together are the decoded completion, cut before a stop string."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Detokenizer:
    """The text of one completion while it grows; never half a character, never the beginning of a stop string."""

    def __init__(self, words: Tokenizer, stop: Sequence[str] = ()) -> None:
        from tokenizers.decoders import DecodeStream

        self.stopped = False
        self._words = words
        self._stop = tuple(text for text in stop if text)
        stream = DecodeStream(skip_special_tokens=True)
        self._step: Callable[[Tokenizer, int], str | None] = stream.step
        self._ids: list[int] = []
        self._decoded = 0
        self._pending = self._late = False
        self._held = ""

    def feed(self, id: int) -> str:
        """The text that this token completes; `stopped` tells that a stop string was found."""
        self._ids.append(id)
        if self._late:
            return ""
        try:
            text = self._step(self._words, id)
        except Exception:  # raised bare, by decoders in which a token changes earlier text: those wait for the end
            self._pending = self._late = True
            return ""
        self._pending = text is None
        if text is None:
            return ""
        self._decoded += len(text)
        return self._show(text) if self._stop else text

    def finish(self) -> str:
        """What is left once no token follows: half a character, the harmless beginning of a stop string."""
        rest = ""
        if self._pending and not self.stopped:
            rest = self._words.decode(self._ids, skip_special_tokens=True)[self._decoded :]
        if self._stop and rest:
            rest = self._show(rest)
        if not self.stopped:
            rest, self._held = rest + self._held, ""
        return rest

    def _show(self, text: str) -> str:
        text = self._held + text
        places = [place for stop in self._stop if (place := text.find(stop)) >= 0]
        if places:
            self.stopped, self._held = True, ""
            return text[: min(places)]
        keep = max(_overlap(text, stop) for stop in self._stop)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text could begin the stop string."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0
