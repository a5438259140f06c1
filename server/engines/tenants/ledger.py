"""A merged model as a folder: terms, sums, a mask for each tenant, and the log.

    ledger.json  log.jsonl  sums-N.safetensors  masks/TENANT.safetensors  contributions/TENANT.safetensors

A change writes the new sums, then the entry N of the log, which makes it true, then removes what is no longer true.
Rule: after a deletion nothing in the folder depends on the tenant but its name and digests in the log. A difference of
the sums before and after would be the tenant's change, so neither old sums nor backups of them may stay anywhere.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from decoders.core.errors import NotKept, UnknownModel
from server.engines.tenants import chain
from server.engines.tenants.chain import FIRST, Entry
from server.engines.tenants.sums import Bits, Contribution, Floats, Sums, digest, unpacked
from server.engines.tenants.terms import Tensors, Terms, base_digest

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
TERMS = "ledger.json"


class Ledger:
    """The state that the last entry of the log tells. Several processes may share a folder on one machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.terms = Terms.load(folder / TERMS)
        self._stamp: tuple[int, int] | None = None
        self.entries: list[Entry] = []
        self.sums = Sums.empty(self.terms.shapes)
        self.refresh()

    @classmethod
    def create(cls, folder: Path, terms: Terms) -> Ledger:
        """Of no tenants. `FileExistsError` where there is one already."""
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / TERMS).exists():
            raise FileExistsError(f"{folder} has a ledger already")
        for place in ("masks", "contributions"):
            (folder / place).mkdir(mode=0o700, exist_ok=True)
        terms.dump(folder / TERMS)
        return cls(folder)

    @property
    def state(self) -> str:
        """Digest of the sums; `FIRST` before the first tenant."""
        return self.entries[-1].state if self.entries else FIRST

    @property
    def version(self) -> str:
        """Changes with every tenant that comes or goes, because everybody's weights do."""
        return self.entries[-1].hash if self.entries else FIRST

    def names(self) -> list[str]:
        """The tenants that are in it, in the order in which they came."""
        return list(self.added())

    def added(self) -> dict[str, Entry]:
        """For each tenant that is in it, the entry that says so."""
        there: dict[str, Entry] = {}
        for entry in self.entries:
            if entry.action == "add":
                there[entry.tenant] = entry
            else:
                del there[entry.tenant]
        return there

    def label(self, tenant: str) -> str:
        """A name of this tenant that nobody else has, nor itself when it is added once more."""
        return _label(self._entry(tenant))

    @property
    def departed(self) -> frozenset[str]:
        """Labels of tenants that were there once."""
        there = {entry.hash for entry in self.added().values()}
        return frozenset(_label(e) for e in self.entries if e.action == "add" and e.hash not in there)

    def refresh(self) -> bool:
        """Read the folder again where another process has changed it; whether it has."""
        path = self.folder / "log.jsonl"
        if (stamp := _stamp(path)) == self._stamp:
            return False
        entries = chain.read(path)
        try:
            self.sums = self._read_sums(entries)
        except FileNotFoundError:  # changed once more since the log was read
            return self.refresh() if stamp != _stamp(path) else _missing(self.folder)
        self.entries, self._stamp = entries, stamp
        return True

    def mask(self, tenant: str) -> dict[str, Bits]:
        """A tenant's mask. Raises `UnknownModel`."""
        self._entry(tenant)
        return load_file(self._file("masks", tenant))

    def weights(self, tenant: str, base: Tensors) -> dict[str, Floats]:
        """The tensors of a tenant's model that are not the base's. Raises `UnknownModel`."""
        return self.terms.weights(base, self.sums, self.mask(tenant))

    def check(self, base: Tensors) -> None:
        """Raises `ValueError` where this is not the base that the tenants were trained from."""
        if base_digest(base) != self.terms.base:
            raise ValueError(f"the tenants of {self.folder} were trained from another base model")

    def contribution(self, tenant: str) -> Contribution:
        """What was added. Raises `UnknownModel`, or `NotKept`."""
        self._entry(tenant)
        path = self._file("contributions", tenant)
        if not path.exists():
            raise NotKept(f"the contribution of {tenant} was not kept: it has to be trained again to be taken out")
        kept, mask, values = load_file(path), self.mask(tenant), {}
        for name, shape in self.terms.shapes.items():
            values[name] = np.zeros(shape, np.int64)
            values[name][unpacked(mask, name, shape)] = kept[name]
        return Contribution(values)

    def add(self, tenant: str, changes: Mapping[str, Floats], *, recipe: str = "", keep: bool = True) -> Entry:
        """Take a tenant in; without `keep` its contribution must be made again before it can be deleted."""
        if not NAME.fullmatch(tenant):
            raise ValueError(f"{tenant!r} is no name of a tenant: letters, digits, _ and -, at most 64")
        contribution = Contribution.of(changes)
        with self._alone():
            if tenant in self.added():
                raise ValueError(f"there is a tenant {tenant} already")
            mask = contribution.mask
            save_file(mask, self._file("masks", tenant))
            if keep:
                values = {name: value[value != 0] for name, value in contribution.values.items()}
                save_file(values, self._file("contributions", tenant))
            sums = self.sums.plus(contribution)
            return self._commit(tenant, sums, ("add", contribution.digest, digest(mask), recipe))

    def delete(self, tenant: str, contribution: Contribution | None = None) -> Entry:
        """Take a tenant out: the sums are those of the others alone, its files are gone.

        Raises `UnknownModel`, `NotKept`, or `ValueError` for a contribution that is not what was added.
        """
        with self._alone():
            contribution = contribution or self.contribution(tenant)
            entry = self._entry(tenant)
            if contribution.digest != entry.contribution:
                raise ValueError(f"this is not what was added for {tenant}: nothing is changed")
            sums = self.sums.plus(contribution, -1)
            return self._commit(tenant, sums, ("delete", entry.contribution, entry.mask, entry.recipe))

    def _commit(self, tenant: str, sums: Sums, told: tuple[str, str, str, str]) -> Entry:
        number, (action, contribution, mask, recipe) = len(self.entries), told
        tensors: dict[str, NDArray[Any]] = {
            **sums.totals,
            **{f"{name}/count": count for name, count in sums.counts.items()},
        }
        save_file(tensors, self._sums(number))
        with self._sums(number).open("rb") as file:
            os.fsync(file.fileno())
        entry = Entry(
            number=number,
            action="add" if action == "add" else "delete",
            tenant=tenant,
            contribution=contribution,
            mask=mask,
            recipe=recipe,
            state=sums.digest,
            tenants=sums.tenants,
            previous=self.entries[-1].hash if self.entries else FIRST,
        )
        log = self.folder / "log.jsonl"
        chain.append(log, entry)
        self.entries, self.sums, self._stamp = [*self.entries, entry], sums, _stamp(log)
        self._tidy()
        return entry

    def _tidy(self) -> None:
        """Remove what the log no longer tells of, after a change or after a crash in the middle of one."""
        there = self.added()
        stale = [p for p in self.folder.glob("sums-*") if p != self._sums(len(self.entries) - 1)]
        for place in ("masks", "contributions"):
            stale += [path for path in (self.folder / place).iterdir() if path.stem not in there]
        for path in stale:
            path.unlink(missing_ok=True)

    def _read_sums(self, entries: list[Entry]) -> Sums:
        if not entries:
            return Sums.empty(self.terms.shapes)
        tensors, shapes = load_file(self._sums(len(entries) - 1)), self.terms.shapes
        return Sums({n: tensors[n] for n in shapes}, {n: tensors[f"{n}/count"] for n in shapes}, entries[-1].tenants)

    def _entry(self, tenant: str) -> Entry:
        entry = self.added().get(tenant)
        if entry is None:
            raise UnknownModel(f"there is no tenant {tenant!r}", param="model")
        return entry

    def _file(self, place: str, tenant: str) -> Path:
        return self.folder / place / f"{tenant}.safetensors"

    def _sums(self, number: int) -> Path:
        return self.folder / f"sums-{number}.safetensors"

    @contextmanager
    def _alone(self) -> Generator[None, None, None]:
        """One process changes the folder at a time, from where the last one has left it."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.chmod(self.folder / "lock", 0o600)
            self.refresh()
            self._tidy()
            yield


def _label(entry: Entry) -> str:
    return f"{entry.tenant}/{entry.hash[:16]}"


def _stamp(path: Path) -> tuple[int, int] | None:
    return (path.stat().st_mtime_ns, path.stat().st_size) if path.exists() else None


def _missing(folder: Path) -> bool:
    raise chain.BrokenChain(f"{folder} has not the sums that its log tells of")
