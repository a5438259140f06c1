"""Sums of tenants' changes in whole numbers, from which each can be taken out again to the last bit.

A float's sum depends on the order of its terms, (a + b) - b need not be a. So a change τ is rounded once to units of
2⁻³⁰ and added as an integer. Rule: what has been added and taken out again has left nothing, in whatever order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float32]
Bits = NDArray[np.uint8]

UNIT = 2.0**-30
_LARGEST = 2.0**20
"""Of a change; four thousand tenants of it still fit into 64 bits."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """τ of one tenant by tensor, in units: what is added when it comes and subtracted when it goes."""

    values: Mapping[str, Integers]

    @classmethod
    def of(cls, changes: Mapping[str, Floats]) -> Contribution:
        """Round a change. `ValueError` where it is not finite or absurdly large."""
        values = {}
        for name, change in sorted(changes.items()):
            if not np.all(np.abs(change) < _LARGEST):
                raise ValueError(f"{name}: a change is not finite, or larger than {_LARGEST:g}")
            values[name] = np.rint(change.astype(np.float64) / UNIT).astype(np.int64)
        return cls(values)

    @property
    def mask(self) -> dict[str, Bits]:
        """M = 1{τ ≠ 0}, one bit a parameter."""
        return {name: np.packbits(value != 0) for name, value in self.values.items()}

    @property
    def digest(self) -> str:
        """SHA-256 of everything in it."""
        return digest(self.values)


class Sums:
    """S = Σ τ, C = Σ m and T of the tenants that are in it."""

    def __init__(self, totals: Mapping[str, Integers], counts: Mapping[str, NDArray[np.int32]], tenants: int) -> None:
        self.totals, self.counts, self.tenants = dict(totals), dict(counts), tenants

    @classmethod
    def empty(cls, shapes: Mapping[str, tuple[int, ...]]) -> Sums:
        """Of nobody."""
        totals = {name: np.zeros(shape, np.int64) for name, shape in shapes.items()}
        return cls(totals, {name: np.zeros(shape, np.int32) for name, shape in shapes.items()}, 0)

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, ...]], contributions: Iterable[Contribution]) -> Sums:
        """Of all of these."""
        made = cls.empty(shapes)
        for contribution in contributions:
            made = made.plus(contribution)
        return made

    def plus(self, contribution: Contribution, sign: int = 1) -> Sums:
        """With one more tenant, or with `sign` -1 one less. `ValueError` for tensors that are not the model's."""
        shapes = {name: total.shape for name, total in self.totals.items()}
        if {name: value.shape for name, value in contribution.values.items()} != shapes:
            raise ValueError("the change has other tensors than the merged model")
        totals = {name: total + sign * contribution.values[name] for name, total in self.totals.items()}
        changed = {name: np.int32(sign) * (value != 0) for name, value in contribution.values.items()}
        return Sums(totals, {n: count + changed[n] for n, count in self.counts.items()}, self.tenants + sign)

    def mean(self, name: str) -> NDArray[np.float64]:
        """S / T, the change that the paper merges by."""
        return self.totals[name].astype(np.float64) * (UNIT / max(self.tenants, 1))

    def mean_of_users(self, name: str) -> NDArray[np.float64]:
        """S / C: the mean over the tenants that use an entry. Ours; C is as exact as S."""
        mean: NDArray[np.float64] = self.totals[name].astype(np.float64) * UNIT / np.maximum(self.counts[name], 1)
        return mean

    @property
    def digest(self) -> str:
        """SHA-256 of everything in it."""
        return digest({**self.totals, **{f"{n}/count": c for n, c in self.counts.items()}}, self.tenants)


def unpacked(mask: Mapping[str, Bits], name: str, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A tensor's mask as truth values."""
    size = int(np.prod(shape, dtype=np.int64))
    return np.unpackbits(mask[name], count=size).astype(np.bool_).reshape(shape)


def digest(tensors: Mapping[str, NDArray[np.generic]], *more: object) -> str:
    """SHA-256 of names, types, shapes and contents, and of what is said besides."""
    found = hashlib.sha256(repr(more).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name}/{tensor.dtype.str}/{tensor.shape}/".encode())
        found.update(np.ascontiguousarray(tensor).data)
    return found.hexdigest()
