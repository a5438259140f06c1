"""The log of a merged model: who was added and who was deleted, each entry with the hash of the one before.

Rule: entries are only appended, and whoever changes an old one changes the hash of the last. So who notes the last hash
somewhere else can prove later that nothing was rewritten.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Literal

FIRST = "0" * 64


class BrokenChain(ValueError):
    """The log has been changed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One change. Digests are SHA-256: of the contribution, of the tenant's mask, of all sums afterwards."""

    number: int
    action: Literal["add", "delete"]
    tenant: str
    contribution: str
    mask: str
    recipe: str
    """Of what made the contribution: seed, data, settings, versions of libraries."""
    state: str
    tenants: int
    previous: str

    @property
    def hash(self) -> str:
        """Of all of it, and with `previous` of all that came before."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def read(path: Path) -> list[Entry]:
    """All entries, verified. Raises `BrokenChain`. A line that a crash has cut short was never written."""
    lines = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
    entries: list[Entry] = []
    for line in lines:
        if not line.endswith("\n"):
            break
        try:
            told = json.loads(line)
            known = told.pop("hash")
            entry = Entry(**told)
        except (ValueError, TypeError, KeyError) as error:
            raise BrokenChain(f"{path}: line {len(entries) + 1} is no entry: {error}") from error
        before = entries[-1].hash if entries else FIRST
        if (entry.number, entry.previous, entry.hash) != (len(entries), before, known):
            raise BrokenChain(f"{path}: entry {len(entries)} is not the one that was written")
        entries.append(entry)
    return entries


def append(path: Path, entry: Entry) -> None:
    """Write an entry; it is on the disk when this returns."""
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":
                _cut(file)
        file.write(json.dumps({**asdict(entry), "hash": entry.hash}).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _cut(file: BinaryIO) -> None:
    """Take away a line that a crash has cut short."""
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)
