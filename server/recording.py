"""A run as its log tells it. Rule: who reads a recording sees what the reader of the generation itself would see."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from decoders.core.events import Answer
from server.narrator import Piece
from server.report import Cancelled, Entry, Facts, Failed, Gone, Report


class Recording(Report):
    """The log of one run: `lines` give it from its beginning, and on as it grows."""

    def __init__(self, lines: AsyncGenerator[Sequence[bytes], None], choices: int, *, cached: bool = False) -> None:
        self.choices = choices
        self._lines, self._cached = lines, cached
        self._answers: dict[int, Answer] = {}
        self._facts: Facts | None = None

    async def pieces(self) -> AsyncGenerator[list[tuple[int, Piece]], None]:
        """What was and is shown. Raises what ended the run: `Failed`, `Cancelled`; `Gone` when it is deleted."""
        async with aclosing(self._lines) as batches:
            async for batch in batches:
                entries = [Entry.load(line) for line in batch]
                for entry in entries:
                    self._answers.update(entry.answers or {})
                    self._facts = entry.facts or self._facts
                yield [piece for entry in entries for piece in entry.pieces]
        if self._facts is None:
            raise Gone("the run was deleted")
        if self._facts.error is not None:
            raise Failed(self._facts.error)
        if self._facts.cancelled:
            raise Cancelled("the run was cancelled")

    def answer(self, index: int) -> Answer | None:
        """The answer of one choice, once it is there."""
        return self._answers.get(index)

    def facts(self) -> Facts:
        """What was known in the end."""
        facts = self._facts or Facts()
        return facts.model_copy(update={"cached": True}) if self._cached else facts
