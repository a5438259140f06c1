"""Rows of tables, from the hub or from files. Rule: they come one by one and as they were written."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from benchmarks.tasks.sets.schemas import Hub

Row = Mapping[str, object]


def from_hub(source: Hub) -> Iterator[Row]:
    """The rows of a split, through the cache of the library `datasets`; with HF_HUB_OFFLINE=1 from there alone.

    `ValueError` where neither has them.
    """
    try:
        from datasets import load_dataset
    except ModuleNotFoundError as error:
        raise ValueError(
            "the hub needs a library: pip install 'longthink[bench]'; or name a file: aime:FILE"
        ) from error
    try:
        found = load_dataset(source.name, source.config, split=source.split)
    except OSError as error:
        raise ValueError(f"{error}; a copy of your own can be named: aime:FILE") from error
    yield from cast(Iterator[Row], found)


def from_path(path: Path) -> Iterator[Row]:
    """The rows of a file, or of all tables below a folder by their names. `ValueError` if there are none."""
    files = sorted(p for p in path.rglob("*") if p.suffix in READERS) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise ValueError(f"there are no questions at {path}")
    for file in files:
        if file.suffix not in READERS:
            raise ValueError(f"{file} is none of {', '.join(READERS)}")
        yield from READERS[file.suffix](file)


def cell(row: Row, column: str) -> object:
    """A value of a row, also within a struct; `ValueError` where there is no such column."""
    value: object = row
    for name in column.split("."):
        if not isinstance(value, Mapping) or name not in value:
            raise ValueError(f"there is no column {column!r}, only {', '.join(row)}")
        value = value[name]
    return value


def _jsonl(file: Path) -> Iterator[Row]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _object(line, f"{file}, line {number}")


def _json(file: Path) -> Iterator[Row]:
    found = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(found, list):
        raise ValueError(f"{file} holds no list of rows")
    yield from found


def _csv(file: Path) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)  # solutions may be longer than its 128 KiB
    with file.open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)


def _parquet(file: Path) -> Iterator[Row]:
    try:
        from pyarrow.parquet import ParquetFile
    except ModuleNotFoundError as error:
        raise ValueError("Parquet needs a library: pip install 'longthink[bench]'") from error
    with ParquetFile(file) as table:
        for batch in table.iter_batches():
            yield from batch.to_pylist()


def _object(line: str, place: str) -> Row:
    try:
        found: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{place} is not JSON") from error
    if not isinstance(found, dict):
        raise ValueError(f"{place} is no row")
    return found


READERS: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
