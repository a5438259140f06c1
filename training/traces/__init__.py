"""Solutions of hard problems, kept for training: `longthink traces` finds them, recipes begin from them.

Rule: a solution stands in a file only where the checker of its problem's task has taken it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmarks.tasks import Problem, mined
from benchmarks.tasks.mined import Place
from decoders.core.engine import Tokenizing
from decoders.core.messages import Prompt


class Solution(BaseModel):
    """A line of a file of traces: which problem, how it was solved, and what that cost."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)

    task: str
    level: str
    split: str
    of: int
    """How many problems of the level and split were drawn; this is one of them."""
    seed: int = 0
    id: str
    question: str
    solution: str
    """The steps as one would show them: what a hint is cut from."""
    reply: str = ""
    """A model's whole reply, thinking included: what a prefix is cut from. Empty where only the solution is known."""
    token_ids: tuple[int, ...] = ()
    """The reply as it was generated, its end token included, where the engine told."""
    model: str = ""
    decoder: dict[str, Any] = Field(default_factory=dict)
    origin: Literal["collected", "served", "given"] = "given"
    """Found by `traces collect`, exported from a server's store, or brought along."""
    tokens: int = 0
    """What was read and written for it, and for those before it that came to nothing."""


def place(problem: Problem, pool: Place) -> dict[str, Any]:
    """How a line names a problem of a pool."""
    return {**dataclasses.asdict(pool), "id": problem.id, "question": problem.question}


def read(path: Path) -> list[tuple[Problem, Solution]]:
    """The problems of a file with their solutions; of several the shortest. `ValueError` where it cannot be read."""
    try:
        found = [Solution.model_validate_json(line) for line in path.read_text().splitlines()]
    except OSError as error:
        raise ValueError(f"{path}: {error}: `longthink traces collect` or `export` writes such a file") from error
    except ValidationError as error:
        raise ValueError(f"{path}: these are no traces: {error}") from error
    shortest: dict[str, Solution] = {}
    for solution in sorted(found, key=lambda solution: len(solution.reply)):
        shortest.setdefault(solution.id, solution)
    return [(problem, shortest[problem.id]) for problem in mined.found(mined.Mined(path).places())]


def write(path: Path, lines: Iterable[BaseModel]) -> None:
    """Add lines to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(line.model_dump_json() + "\n" for line in lines)


async def ids(solution: Solution, words: Tokenizing) -> tuple[int, ...]:
    """The reply's token ids: its own, where they mean the same to this tokenizer."""
    known = solution.token_ids
    if known and (await words.detokenize(known)).startswith(solution.reply.rstrip()):
        return known
    return await words.tokenize(Prompt(text=solution.reply))
