"""A pack's ladder: which decoder with which options does best at which budget, a rung a line of `ladder.json`.

Rule: every rung says where it comes from; `longthink bench ladder` writes the file from measured accuracies.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError


class Rung(BaseModel):
    """The setting that is used from a budget of `tokens` on, up to the next rung."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: int = Field(ge=1)
    decoder: str
    options: dict[str, Any] = Field(default_factory=dict)
    accuracy: float | None = Field(default=None, ge=0, le=1)
    """As measured; none where the rung is a default."""
    source: str
    """Where the rung comes from."""


_RUNGS = TypeAdapter(tuple[Rung, ...])


def read(file: Path) -> tuple[Rung, ...]:
    """The rungs by tokens. Raises `ValueError` that names the file."""
    try:
        return tuple(sorted(_RUNGS.validate_json(file.read_bytes()), key=lambda rung: rung.tokens))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def write(file: Path, rungs: Sequence[Rung]) -> None:
    """The rungs, one a line."""
    lines = [json.dumps(rung.model_dump(exclude_none=True), ensure_ascii=False) for rung in rungs]
    file.write_text("[\n  " + ",\n  ".join(lines) + "\n]\n", encoding="utf-8")
