"""The tasks that accuracy is measured on. This folder is the registry: a module with `problems` and `LEVELS` is a task.

Rule: a problem checks an answer by itself, from the text that the endpoint returned, and no two share an id.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

from pydantic import JsonValue

__all__ = ["Problem", "TaskModule", "load", "names"]


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

    LEVELS: Sequence[str]

    def problems(self, wanted: str, split: str, n: int, seed: int = 0) -> Sequence[Problem]:
        """The first `n` problems of a level and split; more problems begin with the same ones."""


def names() -> list[str]:
    """Every task."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def load(name: str) -> TaskModule:
    """The task of that name; `ValueError` if there is none."""
    if name not in names():
        raise ValueError(f"unknown task {name!r}: there are {', '.join(names())}")
    return cast("TaskModule", import_module(f"{__name__}.{name}"))
