"""Problems of other tasks that a file names, one a line: `mined:FILE`, as `longthink traces` writes it.

Rule: a line says where its problem comes from and nothing of how it is checked, so that a problem is judged here as in
the task that it was taken from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import tasks
from benchmarks.tasks import Problem


@dataclass(frozen=True, slots=True)
class Place:
    """A problem, as one of the first `of` of a level and split."""

    task: str
    level: str
    split: str
    of: int
    seed: int
    id: str


@dataclass(frozen=True)
class Mined:
    """The problems of one file; `ValueError` where it cannot be read or names a problem that there is not."""

    path: Path
    LEVELS: Sequence[str] = ("all",)

    def problems(self, wanted: str, split: str, n: int, seed: int = 0) -> Sequence[Problem]:
        """The first `n` of a split, in the order of the file; all where it has fewer. The seed is that of the lines."""
        return list(found(place for place in self.places() if place.split == split))[:n]

    def places(self) -> list[Place]:
        """Every problem once."""
        if not self.path.name:
            raise ValueError("mined problems are read from a file: name it, as in mined:FILE")
        try:
            lines = [json.loads(line) for line in self.path.read_text().splitlines()]
            return list(dict.fromkeys(Place(*(line[name] for name in Place.__slots__)) for line in lines))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.path}: these are no mined problems: {error}") from error


def found(places: Iterable[Place]) -> list[Problem]:
    """The problems at these places, in their order."""
    pools: dict[Place, dict[str, Problem]] = {}
    problems = []
    for place in places:
        pool = Place(place.task, place.level, place.split, place.of, place.seed, "")
        if pool not in pools:
            drawn = tasks.problems(place.task, place.level, place.split, place.of, place.seed)
            pools[pool] = {problem.id: problem for problem in drawn}
        if place.id not in pools[pool]:
            raise ValueError(f"there is no problem {place.id!r} among the first {place.of} of {place.task}")
        problems.append(pools[pool][place.id])
    return problems
