"""What many rows of one setting come to: few enough figures to be kept where the rows are not.

`longthink bench figures` writes them, a line a setting; `plot`, `panels` and `page` read them as they read rows. Rule:
counts are kept, never shares, so that intervals and rounding are made where they are shown.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmarks import cli
from benchmarks.rows import DamagedFile, Row, Setting, by_setting, read
from benchmarks.statistics import Interval, wilson


class Figures(Setting):
    """One setting and what came of its problems."""

    n: int
    """Problems."""
    right: int
    tokens: float
    """Mean of all tokens generated for a problem."""
    cut: int
    """Replies that ended with their budget."""
    answered: int
    prompt_tokens: float = 0.0
    """Means, 0 in files from before they were kept."""
    cached_tokens: float = 0.0

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Self:
        """The figures of finished rows that share their setting; at least one."""
        return cls(
            **rows[0].setting.model_dump(),
            n=len(rows),
            right=sum(row.correct for row in rows),
            tokens=_mean(row.completion_tokens for row in rows),
            cut=sum(row.finish == "length" for row in rows),
            answered=sum(row.answered for row in rows),
            prompt_tokens=_mean(row.prompt_tokens for row in rows),
            cached_tokens=_mean(row.cached_tokens for row in rows),
        )

    @property
    def accuracy(self) -> float:
        """Share of right answers, 0..1."""
        return self.right / self.n

    @property
    def wrong(self) -> int:
        """Answers that are not right; no problem is solved without one."""
        return self.answered - self.right

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval of the accuracy."""
        return wilson(self.right, self.n)

    @property
    def setting(self) -> Setting:
        """The part that says how it came about."""
        return Setting.model_validate({name: getattr(self, name) for name in Setting.model_fields})


def _mean(counts: Iterable[int]) -> float:
    found = list(counts)
    return round(sum(found) / len(found), 2)


class Summary(BaseModel):
    """The figures of a measurement, with what a figure is worth nothing without."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str
    """When, on what, from which files."""
    figures: tuple[Figures, ...]

    @classmethod
    def load(cls, path: Path) -> Self:
        """A file that `save` has written. `DamagedFile` for anything else."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise DamagedFile(f"{path} holds no figures: {error.errors()[0]['msg']}") from error

    def save(self, path: Path) -> None:
        """As JSON with a line a setting, so that a change of a figure is a change of a line."""
        about, *lines = (
            json.dumps(value, ensure_ascii=False)
            for value in (self.about, *(own.model_dump(exclude_defaults=True) for own in self.figures))
        )
        text = "\n".join([f'{{"about": {about}, "figures": [', ",\n".join(lines), "]}\n"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def summarised(rows: Iterable[Row]) -> tuple[Figures, ...]:
    """The figures of each setting, those of one decoder together, else in the order in which they first appear."""
    found = [Figures.of(own) for own in by_setting(row for row in rows if row.error is None).values()]
    decoders = list(dict.fromkeys(figures.decoder for figures in found))
    return tuple(sorted(found, key=lambda figures: decoders.index(figures.decoder)))


def figures_of(file: Path) -> tuple[Figures, ...]:
    """Those of a file of rows (.jsonl) or of figures (.json)."""
    return Summary.load(file).figures if file.suffix == ".json" else summarised(read(file))


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = cli.parser("figures", __doc__)
    made.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="results of `accuracy`, `suite`, `interaction`"
    )
    made.add_argument("--about", required=True, help="when it was measured, on what")
    made.add_argument("--output", type=Path, required=True, help="JSON file")
    return made


def main(argv: Sequence[str]) -> int:
    """Write the file and tell where it is."""
    options = parser().parse_args(argv)
    try:
        rows = [row for file in options.files for row in read(file)]
        Summary(about=options.about, figures=summarised(rows)).save(options.output)
    except (DamagedFile, OSError) as error:
        print(f"longthink bench figures: {error}", file=sys.stderr)
        return 2
    print(options.output)
    return 0
