"""Which slot holds which tokens. Rule: running slots come first, then those being prefilled, then retained ones.

Slots are neighbours in memory, so one call decodes all running sequences. A slot whose sequence has ended keeps its
tokens until the least recently used one is needed: a prompt that begins with them does not compute them again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from server.engines.embedded.backend import Backend, Integers
from server.engines.embedded.sequence import Sequence

_WORTH = 32
"""Tokens from which a shared beginning is reused; shorter ones cost more in lost batching than they save."""
_TAIL = 16
"""Tokens of a retained slot that may be lost when a prompt takes it over instead of copying from it."""


class Slots:
    """The table of slots; moves keys and values in the backend when the order changes."""

    def __init__(self, backend: Backend, *, reuse: bool = True) -> None:
        self.running = 0
        """Slots before this one decode."""
        self.busy = 0
        """Slots from `running` to here are being prefilled."""
        self.owners: list[Sequence | None] = [None] * backend.slots
        self.lengths: Integers = np.zeros(backend.slots, np.int64)
        self._backend = backend
        self.reuse = reuse
        self._tokens: NDArray[np.int32] = np.zeros((backend.slots, backend.capacity), np.int32)
        self._used: Integers = np.zeros(backend.slots, np.int64)
        self._reach: Integers = np.zeros(backend.slots, np.int64)
        """How far each slot was ever written: what was moved away or cut off still lies there."""
        self._tenants: NDArray[np.object_] = np.full(backend.slots, "", object)
        self._tick = 0

    @property
    def free(self) -> int:
        """Slots that a new sequence can have."""
        return len(self.owners) - self.busy

    def longest(self, sequence: Sequence) -> tuple[int, int]:
        """The slot that shares the longest beginning with the prompt, and how much of it is worth reusing."""
        prompt = sequence.prompt
        most = len(prompt) - 1
        if not self.reuse or most < 1:
            return 0, 0
        same = self._tokens[:, :most] == prompt[:most]
        shared = np.minimum(np.where(same.all(axis=1), most, same.argmin(axis=1)), self.lengths)
        # the same tokens under other weights are other keys and values
        shared = np.where(self._tenants == sequence.tenant, shared, 0)
        row = int(shared.argmax())
        return (row, int(shared[row])) if worth(int(shared[row]), len(prompt)) else (row, 0)

    def claim(self, sequence: Sequence) -> None:
        """Give the sequence a slot at the end of those being prefilled, with as much of its prompt as is known."""
        source, shared = self.longest(sequence)
        place, victim = self.busy, self._victim()
        self._tick += 1
        self._used[source] = self._tick if shared else self._used[source]
        retained = shared > 0 and source >= place
        if retained and (source == victim or self.lengths[source] - shared <= _TAIL):
            self._exchange(source, place)
        else:
            self._copy(place, victim, int(self.lengths[place]))
            self._used[victim] = self._used[place]
            if shared:
                self._copy(source, place, shared)
        self.lengths[place] = shared
        self.owners[place] = sequence
        self._tenants[place] = sequence.tenant
        sequence.row, sequence.cached = place, shared
        self.busy += 1

    def append(self, first: int, ids: Integers, counts: Integers) -> None:
        """Note tokens that the backend has just taken, right-padded as there."""
        part = slice(first, first + len(ids))
        self._reach[part] = np.maximum(self._reach[part], self.lengths[part] + ids.shape[1])
        if ids.shape[1] == 1:
            rows = np.arange(first, first + len(ids))
            self._tokens[rows, self.lengths[rows]] = ids[:, 0]
        else:
            for row, (values, count) in enumerate(zip(ids, counts, strict=True), first):
                self._tokens[row, self.lengths[row] : self.lengths[row] + count] = values[:count]
        self.lengths[part] += counts

    def lead(self, sequence: Sequence) -> None:
        """Move a sequence to the front of those being prefilled."""
        self._exchange(sequence.row, self.running)

    def promote(self, sequence: Sequence) -> None:
        """The prompt is complete: the sequence decodes from the next step on."""
        self._exchange(sequence.row, self.running)
        self.running += 1

    def release(self, sequence: Sequence) -> None:
        """Take the slot back; its tokens stay for later prompts."""
        row = sequence.row
        if row < self.running:
            self.running -= 1
            self._exchange(row, self.running)
            row = self.running
        self.busy -= 1
        self._exchange(row, self.busy)
        self.owners[self.busy] = None
        sequence.row = -1
        self._tick += 1
        self._used[self.busy] = self._tick

    def computed(self, sequence: Sequence) -> NDArray[np.int32]:
        """The tokens that a sequence's slot holds."""
        return self._tokens[sequence.row, : self.lengths[sequence.row]].copy()

    def forget_tenants(self) -> None:
        """Leave nothing of what was computed with tenants' weights; no sequence of a tenant may have a slot."""
        theirs = self._tenants != ""
        self.lengths[theirs], self._tenants[theirs] = 0, ""
        for slot, (kept, reach) in enumerate(zip(self.lengths, self._reach, strict=True)):
            if reach > kept:
                self._backend.wipe(slot, int(kept), int(reach))
                self._tokens[slot, kept:] = 0
        self._reach = self.lengths.copy()

    def _victim(self) -> int:
        """An empty slot, or the one that was used the longest ago."""
        return self.busy + int(np.where(self.lengths[self.busy :] == 0, -1, self._used[self.busy :]).argmin())

    def _copy(self, source: int, target: int, length: int) -> None:
        if source != target and length:
            self._backend.copy(source, target, length)
            self._tokens[target, :length] = self._tokens[source, :length]
            self._reach[target] = max(self._reach[target], length)
        self.lengths[target] = length
        self._tenants[target] = self._tenants[source]

    def _exchange(self, one: int, other: int) -> None:
        if one == other:
            return
        sizes = int(self.lengths[one]), int(self.lengths[other])
        if 0 in sizes:
            full, empty = (one, other) if sizes[0] else (other, one)
            self._copy(full, empty, max(sizes))
            self.lengths[full] = 0
        else:
            self._backend.swap(one, other, max(sizes))
            self._tokens[[one, other], : max(sizes)] = self._tokens[[other, one], : max(sizes)]
            self._reach[[one, other]] = np.maximum(self._reach[[one, other]], max(sizes))
            self.lengths[[one, other]] = self.lengths[[other, one]]
            self._tenants[[one, other]] = self._tenants[[other, one]]
        self._used[[one, other]] = self._used[[other, one]]
        self.owners[one], self.owners[other] = self.owners[other], self.owners[one]
        for row in (one, other):
            if (owner := self.owners[row]) is not None:
                owner.row = row


def worth(shared: int, length: int) -> bool:
    """Whether so many shared tokens of a prompt are better reused than computed in a batch with other prompts."""
    return shared >= _WORTH or 0 < length <= 2 * shared


def common(one: NDArray[np.int32], other: NDArray[np.int32]) -> int:
    """Tokens that two prompts share at their beginning."""
    size = min(len(one), len(other))
    same = one[:size] == other[:size]
    return size if same.all() else int(same.argmin())
