"""Tasks that are published as tables: AIME, HMMT, DeepScaleR, DAPO and others, and anybody's own file.

Rule: a sample of a set is the same wherever it was read from, and more questions begin with the same ones.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

from benchmarks.tasks.sets.question import Question, parse
from benchmarks.tasks.sets.schemas import SETS, Hub, Schema
from benchmarks.tasks.sets.tables import from_hub, from_path
from decoders.rewards import math

__all__ = ["SETS", "Question", "QuestionSet", "open_set"]

_RANGE = re.compile(r"(\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?))?")


@dataclass(frozen=True)
class QuestionSet:
    """A set from the hub, or, with a path, from a file or folder."""

    name: str
    schema: Schema
    path: Path | None = None

    @property
    def LEVELS(self) -> Sequence[str]:
        """`all`, and of the hub also the parts that have a place of their own there."""
        return tuple(dict.fromkeys(("all", *(() if self.path else self.schema.hub))))

    def problems(self, wanted: str, split: str, n: int, seed: int = 0) -> Sequence[Question]:
        """The first `n` questions in an order that depends on their words and the seed alone.

        Where questions have a difficulty, `5` and `4-6.5` are levels too.
        """
        if self.schema.held_out and split != "test":
            raise ValueError(f"{self.name} is for testing: it has no split {split!r}")
        if not self.schema.wrong and not self.schema.free:
            math.require()
        found = [q for q in self._level(wanted) if self.schema.held_out or q.split == split]
        if len(found) < n:
            raise ValueError(f"there are fewer than {n} {split} problems of {self.name} {wanted}: found {len(found)}")
        return sorted(found, key=lambda q: hashlib.sha256(f"{seed}/".encode() + q.digest).digest())[:n]

    def _level(self, wanted: str) -> Sequence[Question]:
        bounds = _RANGE.fullmatch(wanted) if self.schema.difficulty else None
        if bounds is None and wanted not in self.LEVELS:
            ranges = ", and difficulties, such as 5 and 4-6.5" if self.schema.difficulty else ""
            raise ValueError(f"{self.name} has no level {wanted!r}: there are {', '.join(self.LEVELS)}{ranges}")
        everywhere = tuple(chain(*self.schema.hub.values()))
        found = _read(self.schema, self.path or self.schema.hub.get(wanted, everywhere))
        if bounds is None:
            return found
        low, high = float(bounds[1]), float(bounds[2] or bounds[1])
        return [q for q in found if q.difficulty is not None and low <= q.difficulty <= high]


@cache
def _read(schema: Schema, source: Path | tuple[Hub, ...]) -> tuple[Question, ...]:
    """Every question once. `ValueError` where there is nowhere to read, or two questions have one id."""
    if not source:
        raise ValueError("this set is read from a file: name it, as in questions:FILE")
    rows = from_path(source) if isinstance(source, Path) else chain.from_iterable(map(from_hub, source))
    found: dict[bytes, Question] = {}
    for row in rows:
        if (read := parse(row, schema)) is not None:
            found.setdefault(read.digest, read)
    if len({read.id for read in found.values()}) < len(found):
        raise ValueError(f"two problems of {source} share an id")
    return tuple(found.values())


def open_set(name: str, path: str = "") -> QuestionSet:
    """The set of that name, from the hub or from a path."""
    return QuestionSet(name, SETS[name], Path(path) if path else None)
