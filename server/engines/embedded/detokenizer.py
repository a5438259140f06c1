"""Tokens to text as they arrive. Rule: the pieces together are the decoded completion, cut before a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from decoders.core.thinking import overlap

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Detokenizer:
    """The text of one completion while it grows; never half a character, never the beginning of a stop string.

    A token's text depends on its neighbours (a leading space, the bytes of one character), so each new token is
    decoded together with those of the last piece, and that piece is taken off the front. `before` are ids that the
    completion continues: they are context, not text of its own.
    """

    def __init__(
        self,
        words: Tokenizer,
        stop: Sequence[str] = (),
        unsettled: frozenset[int] = frozenset(),
        before: Sequence[int] = (),
    ) -> None:
        self.stopped = False
        self._words = words
        self._stop = tuple(text for text in stop if text)
        self._unsettled = unsettled
        self._ids: list[int] = list(before)
        self._begin, self._read = 0, len(before)
        self._before = words.decode(self._ids, skip_special_tokens=True) if before else ""
        self._shown = len(self._before)
        self._held = ""

    def feed(self, id: int) -> str:
        """The text that this token completes; `stopped` tells that a stop string was found."""
        self._ids.append(id)
        # A run of byte tokens that is not valid as a whole is decoded to replacement marks as a whole.
        if id in self._unsettled:
            return ""
        whole = self._words.decode(self._ids[self._begin :], skip_special_tokens=True)
        if len(whole) <= len(self._before) or whole.endswith("\ufffd") or not whole.startswith(self._before):
            return ""
        text = whole[len(self._before) :]
        self._begin, self._read = self._read, len(self._ids)
        self._before = self._words.decode(self._ids[self._begin :], skip_special_tokens=True)
        self._shown += len(text)
        return self._show(text) if self._stop else text

    def finish(self) -> str:
        """What is left once no token follows: half a character, the harmless beginning of a stop string."""
        rest = ""
        if self._read < len(self._ids) and not self.stopped:
            rest = self._words.decode(self._ids, skip_special_tokens=True)[self._shown :]
        if self._stop and rest:
            rest = self._show(rest)
        if not self.stopped:
            rest, self._held = rest + self._held, ""
        return rest

    def _show(self, text: str) -> str:
        text = self._held + text
        places = [(place + len(stop), place) for stop in self._stop if (place := text.find(stop)) >= 0]
        if places:
            # The one that is complete first, so that the cut does not depend on where tokens end.
            self.stopped, self._held = True, ""
            return text[: min(places)[1]]
        keep = max(overlap(text, stop) for stop in self._stop)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def unsettled(words: Tokenizer) -> frozenset[int]:
    """Ids after which text may change: bytes `<0x00>` to `<0xFF>` that the decoder joins across skipped tokens."""
    if '"ByteFallback"' not in words.to_str():
        return frozenset()
    ids = (words.token_to_id(f"<0x{value:02X}>") for value in range(256))
    special = {id for id, token in words.get_added_tokens_decoder().items() if token.special}
    return frozenset(id for id in ids if id is not None) | special
