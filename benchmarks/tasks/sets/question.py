"""One question out of a table, with its right answer.

Rule: all that is decided about a question (its split, its place in a sample, the order of its options) is decided by a
hash of its own words. The same question is held out of every set that has it, whatever the order and number of rows.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from benchmarks.tasks._held_out import Split, split
from benchmarks.tasks.sets.schemas import Schema
from benchmarks.tasks.sets.tables import Row, cell
from decoders.rewards import choice, exact, math

_LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True)
class Question:
    """Text and right answer; `options` where one of them has to be chosen."""

    text: str
    answer: str
    options: tuple[str, ...] = ()
    name: str = ""
    """Its id in the set, if it has one there."""
    difficulty: float | None = None
    free: bool = False
    """Whether the answer is free words, with no form to ask for and no rule to check it."""

    @property
    def words(self) -> str:
        """The text without what does not count: capitals and spaces."""
        return " ".join(self.text.split()).casefold()

    @cached_property
    def digest(self) -> bytes:
        """Of the words alone."""
        return hashlib.sha256(self.words.encode()).digest()

    @property
    def id(self) -> str:
        """The set's own, or one from the words."""
        return self.name or self.digest.hex()[:12]

    @property
    def split(self) -> Split:
        """By the words."""
        return split(self.words)

    @property
    def question(self) -> str:
        """The question with its options and the wish for a boxed answer."""
        if self.free:
            return self.text
        if not self.options:
            return f"{self.text}\n\n{exact.form('boxed').instruction}"
        lines = (f"{letter}) {option}" for letter, option in zip(_LETTERS, self.options, strict=False))
        return "\n".join((self.text, "", *lines, "", r"Put the letter of your choice, and nothing else, in \boxed{}."))

    @property
    def environment(self) -> None:
        """Thinking is enough."""

    def check(self, answer: str) -> bool:
        """Whether the answer is right; one that is hostile may take seconds. `ValueError` for free words."""
        if self.free:
            raise ValueError("no rule can check free words: they need a judge")
        if self.options:
            return choice.check(_LETTERS[self.options.index(self.answer)], answer)
        return math.check(self.answer, answer)


def parse(row: Row, schema: Schema) -> Question | None:
    """The question of a row, None where the row has no answer; `ValueError` where it lacks a column."""
    text, answer = _said(cell(row, schema.problem)), _text(cell(row, schema.answer))
    text = re.sub(schema.frame, "", text).strip() if schema.frame else text
    if not text or not answer:
        return None
    difficulty = _optional(row, schema.difficulty)
    made = Question(text, answer, (), _optional(row, schema.id), float(difficulty) if difficulty else None, schema.free)
    if not schema.wrong:
        return made
    options = [answer, *(_text(cell(row, column)) for column in schema.wrong)]
    random.Random(made.digest).shuffle(options)
    return replace(made, options=tuple(options))


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _said(value: object) -> str:
    """A question as text; of a conversation, the user's last message."""
    if not isinstance(value, list):
        return _text(value)
    said = [turn["content"] for turn in value if isinstance(turn, Mapping) and turn.get("role") == "user"]
    return _text(said[-1]) if said else ""


def _optional(row: Row, column: str | None) -> str:
    """A cell that a row may lack."""
    try:
        return _text(cell(row, column)) if column else ""
    except ValueError:
        return ""
