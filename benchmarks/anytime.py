"""What a recorded run would have answered, had it been stopped earlier: read from the answers of its steps.

Rule: an answer counts from the last token of its step on, and what is held then is the newest answer or that of most
steps, whichever comes out as right as the runs' own answers more often. Steps side by side count one after another, in
the order of their places: the first k of n samples are what a run of k would have had.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.rows import Row, Step


def _newest(given: Sequence[Step]) -> Step:
    return given[-1]


def _most(given: Sequence[Step]) -> Step:
    votes = Counter(step.answer for step in given)
    return max(given, key=lambda step: votes[step.answer])  # the earliest of equals, as decoders have it


Reading = Callable[[Sequence[Step]], Step]
READINGS: Mapping[str, Reading] = {"the newest answer": _newest, "the answer of most steps": _most}


@dataclass(frozen=True, slots=True)
class Track:
    """One run: from `tokens[i]` tokens on, until the next of them, its answer is right or is not."""

    tokens: tuple[int, ...]
    right: tuple[bool, ...]

    def at(self, budget: float) -> bool:
        """Whether the run is right when it is stopped after so many tokens."""
        place = bisect_right(self.tokens, budget)
        return place > 0 and self.right[place - 1]

    def share(self, budget: float) -> float:
        """The share of the tokens up to the budget from which on its answer was right."""
        ends = (*self.tokens, max(budget, self.tokens[-1]))
        lengths = (max(min(b, budget) - min(a, budget), 0) for a, b in pairwise(ends))
        return sum(length for length, right in zip(lengths, self.right, strict=True) if right) / budget


@dataclass(frozen=True, slots=True)
class Recorded:
    """The runs of one setting, by problem; `agreement` is how often the reading ends as the run itself did."""

    reading: str
    agreement: float
    tracks: Mapping[str, Track]


def recorded(rows: Sequence[Row]) -> Recorded:
    """The tracks of rows that share their setting. `ValueError` where steps were not asked for."""
    if not rows or any(row.steps is None for row in rows):
        raise ValueError("without steps a run cannot be cut back: measure it with --steps")
    agreement = {name: sum(_agrees(row, read) for row in rows) / len(rows) for name, read in READINGS.items()}
    best = max(agreement, key=lambda name: agreement[name])
    return Recorded(best, agreement[best], {row.problem: _track(row, READINGS[best]) for row in rows})


def _agrees(row: Row, read: Reading) -> bool:
    given = [step for step in row.steps or () if step.answer is not None]
    return row.correct == (bool(given) and read(given).right)


def _track(row: Row, read: Reading) -> Track:
    spent, given, points = 0, list[Step](), list[tuple[int, bool]]()
    for step in row.steps or ():
        spent += step.tokens
        if step.answer is not None:
            given.append(step)
            points.append((spent, read(given).right))
    points.append((max(row.completion_tokens, spent), row.correct))  # at its end a run has its own answer
    tokens, right = zip(*points, strict=True)
    return Track(tokens, right)
