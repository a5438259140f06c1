"""The tasks that accuracy is measured on. This folder is the registry: a module with `problems` and `LEVELS` is a task,
unless its name begins with `_`.

So is every set in the table `sets.SETS`, with questions from the hub, or, named as in `aime:FILE`, from a file. What
is named `mined:FILE` are problems of the others that a file lists.

Rule: a problem checks an answer by itself, from the text that the endpoint returned, and no two share an id.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from pydantic import JsonValue

from benchmarks.tasks.sets import SETS, QuestionSet, open_set

__all__ = ["Problem", "QuestionSet", "TaskModule", "load", "names", "problems"]


class Problem(Protocol):
    """One question with its checker."""

    @property
    def id(self) -> str:
        """A name that no other problem of the task has."""

    @property
    def question(self) -> str:
        """What is sent as the user's message."""

    @property
    def environment(self) -> JsonValue:
        """The request's `environment`: the episode in which an agent finds the answer. None where there is none."""

    def check(self, answer: str) -> bool:
        """Whether the answer is right."""


class TaskModule(Protocol):
    """What a module of this folder offers."""

    @property
    def LEVELS(self) -> Sequence[str]:
        """The names of levels."""

    def problems(self, wanted: str, split: str, n: int, seed: int = 0) -> Sequence[Problem]:
        """The first `n` problems of a level and split; more problems begin with the same ones."""


def names() -> list[str]:
    """Every task."""
    modules = (module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)
    return sorted((*(name for name in modules if not name.startswith("_")), *SETS))


def load(task: str) -> TaskModule:
    """The task of that name; `ValueError` if there is none."""
    name, _, path = task.partition(":")
    if name in SETS:
        return open_set(name, path)
    if name not in names():
        raise ValueError(f"unknown task {name!r}: there are {', '.join(names())}")
    module = import_module(f"{__name__}.{name}")
    if name == "mined":
        return cast("TaskModule", module.Mined(Path(path)))
    if path:
        raise ValueError(f"{name} makes its problems by itself and reads no file")
    return cast("TaskModule", module)


def problems(task: str, level: str, split: str, n: int, seed: int = 0) -> Sequence[Problem]:
    """The first `n` problems of a task's level and split; `ValueError` where there is no such task, level or split."""
    found = load(task)
    # a set judges for itself: ranges of difficulty are more levels than it can list
    if not isinstance(found, QuestionSet) and level not in found.LEVELS:
        raise ValueError(f"{task} has no level {level!r}: there are {', '.join(found.LEVELS)}")
    return found.problems(level, split, n, seed)
