"""What an accuracy run writes down: a row a request, one JSON object a line.

Rule: every row tells its whole setting, so files can be cut, joined and read without anything else; what was finished
is never asked again, what failed is.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError, computed_field

BUDGET = "max_completion_tokens"


class Setting(BaseModel):
    """What a request is made of, but for the problem."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str
    task: str
    level: str
    split: str
    problem_seed: int = 0
    decoder: str
    options: dict[str, JsonValue]
    max_completion_tokens: int | None = None
    temperature: float | None = None
    seed: int = 0
    axis: str = ""
    """The option that was swept: along it, settings form a curve."""

    @property
    def key(self) -> str:
        """Equal for equal requests, however they came about."""
        text = json.dumps(_settings_of(self).model_dump(exclude={"axis"}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """For a person: `rc turns=8`."""
        budget = {BUDGET: self.max_completion_tokens} if self.max_completion_tokens else {}
        return " ".join([self.decoder, *(f"{name}={value}" for name, value in {**self.options, **budget}.items())])

    @property
    def axis_value(self) -> JsonValue:
        """The value of the option that was swept."""
        return self.max_completion_tokens if self.axis == BUDGET else self.options.get(self.axis)

    def problem_seed_of(self, problem: str) -> int:
        """The seed of one request: the same for a problem in every setting, so that settings are paired."""
        return int.from_bytes(hashlib.sha256(f"{self.seed}/{problem}".encode()).digest()[:4]) >> 1


class Step(BaseModel):
    """One step of the run that made an answer: what it cost, and what it would have answered."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    step: str
    """Its place in the run: equal in every run of the same request."""
    kind: str
    tokens: int
    answer: str | None = None
    right: bool = False
    """Whether that is right, by the check of the problem."""


class Row(Setting):
    """One request and what came of it."""

    problem: str
    request_seed: int
    answer: str = ""
    correct: bool = False
    finish: str | None = None
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Those of the prompt tokens that came from the prefix cache."""
    by_role: JsonValue = None
    """The server's breakdown of the tokens, where it gives one."""
    interaction: JsonValue = None
    """Its report of the episode, where there was one."""
    judge: str | None = None
    """The model that said whether it is correct, None where a rule did."""
    verdict: Literal["right", "wrong", "unclear", "empty"] | None = None
    judged: str | None = None
    """A digest of what was judged, so that it is not judged twice."""
    steps: tuple[Step, ...] | None = None
    """In the order of their places, where they were asked for."""
    seconds: float = 0.0
    """Of the last attempt, without the waits between attempts."""
    retries: int = 0
    error: str | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def id(self) -> str:
        """Setting and problem."""
        return f"{self.key}/{self.problem}"

    @property
    def setting(self) -> Setting:
        """The part that it shares with the other rows of its setting."""
        return _settings_of(self)

    @property
    def answered(self) -> bool:
        """Whether there is any text outside the reasoning."""
        return bool(self.answer.strip())


def _settings_of(row: Setting) -> Setting:
    return Setting.model_validate({name: getattr(row, name) for name in Setting.model_fields})


class DamagedFile(ValueError):
    """A line other than a torn last one is not a row."""


def read(path: Path) -> list[Row]:
    """The newest row of every id; a failure never hides a success. A torn last line is left out."""
    lines = path.read_bytes().split(b"\n")
    found: dict[str, Row] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = Row.model_validate_json(line)
        except ValidationError as error:
            if number == len(lines):
                break
            raise DamagedFile(f"{path}, line {number} is not a row: {error.errors()[0]['msg']}") from error
        if row.error is None or found.get(row.id, row).error is not None:
            found[row.id] = row
    return list(found.values())


class Journal:
    """Appends rows, each in one write, so that a kill loses at most the line being written."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rows = read(path) if path.exists() else []
        _mend(path)
        self._file = path.open("ab", buffering=0)

    def append(self, row: Row) -> None:
        """Write the row down at once."""
        self._file.write(row.model_dump_json().encode() + b"\n")
        self.rows.append(row)

    def finished(self, judge: str | None = None, *, steps: bool = False) -> set[str]:
        """The ids that need not be asked again: those marked by this judge, and with their steps if they are wanted."""
        good = (row for row in self.rows if row.error is None and row.judge == judge)
        return {row.id for row in good if not steps or row.steps is not None}

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _mend(path: Path) -> None:
    """Take away a torn last line, or end a whole one: the next row needs a line of its own."""
    data = path.read_bytes() if path.exists() else b""
    tail = data.rpartition(b"\n")[2]
    if not tail:
        return
    with path.open("r+b") as file:
        if _is_row(tail):
            file.seek(0, os.SEEK_END)
            file.write(b"\n")
        else:
            file.truncate(len(data) - len(tail))


def _is_row(line: bytes) -> bool:
    try:
        Row.model_validate_json(line)
    except ValidationError:
        return False
    return True


def by_setting(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of each setting, by key, in the order in which settings first appear."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.key, []).append(row)
    return groups
