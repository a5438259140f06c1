"""A run on record: what was asked, every event with its time, what it cost. Saved and loaded as one JSON file.

Rule: a trace that was loaded replays exactly what was seen, without a server.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from openai.types import CompletionUsage
from pydantic import BaseModel, Field, ValidationError

from clients.events import Event
from clients.progress import Progress


class UnreadableTrace(ValueError):
    """The file is no trace."""


class Trace(BaseModel):
    """What was asked and what came of it."""

    version: Literal[1] = 1
    id: str = ""
    """The run's id at the server; empty where it has none that outlives the request."""
    model: str = ""
    messages: list[dict[str, Any]] = Field(default_factory=list)
    decoder: str | dict[str, Any] | None = None
    """As it was asked for; with all options it stands in `longthink`."""
    budget: int | str | None = None
    events: list[tuple[float, Event]] = Field(default_factory=list)
    """Each with the seconds since the request."""
    answer: str | None = None
    """The answer where it is not simply what was said: a decoder may in the end prefer another one."""
    usage: CompletionUsage | None = None
    longthink: Mapping[str, Any] = Field(default_factory=dict)
    """What the server says of the run: decoder with all options, seed, tokens by role, budget and spending."""

    @property
    def text(self) -> str:
        """The answer."""
        return self.progress().text if self.answer is None else self.answer

    def progress(self) -> Progress:
        """The run as it stood in the end."""
        progress = Progress()
        for _, event in self.events:
            progress.tell(event)
        return progress

    def replay(self, speed: float = 1.0) -> Iterator[tuple[float, Event]]:
        """The events, each with the seconds to wait before it."""
        before = 0.0
        for at, event in self.events:
            yield max(at - before, 0.0) / speed, event
            before = at

    def save(self, path: str | Path) -> None:
        """Write it to a file."""
        Path(path).write_text(self.model_dump_json(exclude_none=True), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Trace:
        """Read it from a file. Raises `OSError`, and `UnreadableTrace` for a file that is none."""
        try:
            return cls.model_validate_json(Path(path).read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise UnreadableTrace(f"{path} is no trace: {first['msg']}") from error
