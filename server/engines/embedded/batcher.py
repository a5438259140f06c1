"""Which sequences the model computes next. Rule: sequences join and leave only between two steps.

A step prefills a bounded number of prompt tokens and then decodes one token for every running sequence, so that a
long prompt delays the others by a bounded time. A step computes with one tenant's weights: `turns.py` says whose.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Container

import numpy as np

from decoders.core.engine import Chunk
from decoders.core.errors import EngineUnavailable, LongThinkError, UnknownModel
from server.engines.embedded.backend import Backend, Logits
from server.engines.embedded.sampler import choose, logprobs
from server.engines.embedded.sequence import Sequence, Stream
from server.engines.embedded.slots import Slots, common, worth
from server.engines.embedded.tokenizer import ChatTokenizer
from server.engines.embedded.turns import Together, Turns

_PREFILL = 256
"""Prompt tokens per step: larger ones gain no speed on a CPU and delay the first tokens of the others."""


class Batcher(ABC):
    """Owns the backend. Whoever derives from it says when to `work` and how chunks get to their readers."""

    def __init__(
        self,
        backend: Backend,
        words: ChatTokenizer,
        *,
        prefill: int = _PREFILL,
        reuse: bool = True,
        turns: Turns | None = None,
    ) -> None:
        self.steps = 0
        self._backend, self._words = backend, words
        self._slots = Slots(backend, reuse=reuse)
        self._budget = prefill
        self._waiting = Together() if backend.mixes else turns or Turns()
        self._prefilling: deque[Sequence] = deque()

    @property
    def running(self) -> int:
        """Sequences that have a slot."""
        return self._slots.busy

    @property
    def waiting(self) -> int:
        """Sequences that wait for a slot."""
        return len(self._waiting)

    @abstractmethod
    def _post(self, stream: Stream, item: Chunk | LongThinkError) -> None:
        """Pass on a chunk, or what has ended the call."""

    def _work(self) -> None:
        """One step."""
        self._drop()
        self._step()

    def _drop(self) -> None:
        """Forget the sequences that nobody reads any more."""
        if any(sequence.cancelled for sequence in self._waiting):
            self._waiting.drop()
        for owner in self._slots.owners[: self._slots.busy][::-1]:
            if owner is not None and owner.cancelled:
                self._release(owner)

    def renew(self, tenants: Container[str]) -> None:
        """All tenants' weights have changed, and only these are left: nothing of the old ones is used again.

        What was at work for tenants that are gone ends with `UnknownModel`; for others it goes on with the new weights.
        """
        for sequence in [*self._waiting, *self._held()]:
            if sequence.tenant and sequence.tenant not in tenants and not sequence.cancelled:
                self._end_call(sequence, UnknownModel(f"the tenant {sequence.tenant!r} was deleted", param="model"))
        self._drop()
        if self._waiting.tenant or self._backend.mixes:
            self._park()
            self._waiting.tenant = ""
        self._backend.renew()
        self._slots.forget_tenants()

    def _take_turns(self) -> None:
        while self._waiting.over(busy=bool(self._slots.busy)):
            self._park()
            self._waiting.pass_on()
            if (error := self._select(self._waiting.tenant)) is not None:
                self._refuse(error)

    def _refuse(self, error: LongThinkError) -> None:
        """End all calls of the tenant whose turn it is: its weights cannot be had."""
        while sequence := self._waiting.next():
            self._end_call(sequence, error)
        self._waiting.tenant = ""
        self._backend.select("")

    def _end_call(self, sequence: Sequence, error: LongThinkError) -> None:
        sequence.cancelled = True
        self._post(sequence.stream, error)

    def _park(self) -> None:
        """Let all sequences that have slots wait for another turn; what was computed of them stays if there is room."""
        held = self._held()
        for sequence in reversed(held):
            if sequence.row < self._slots.running:
                sequence.resume(self._slots.computed(sequence))
            self._release(sequence)
        self._waiting.put_back(held)

    def _held(self) -> list[Sequence]:
        return [owner for owner in self._slots.owners[: self._slots.busy] if owner is not None]

    def _step(self) -> None:
        self._take_turns()
        self._waiting.spend()
        left = self._budget
        while left > 0:
            self._admit()
            if not self._prefilling:
                break
            left -= self._prefill(left)
        if self._slots.running:
            self._decode()
        self.steps += 1

    def _admit(self) -> None:
        """Give slots in order of arrival, but let a prompt wait while another one computes its beginning."""
        postponed: list[Sequence] = []
        batched = sum(len(sequence.prompt) for sequence in self._prefilling)
        while self._slots.free > len(postponed) and batched < self._budget:
            if (sequence := self._waiting.next()) is None:
                break
            if self._shares_unfinished(sequence):
                postponed.append(sequence)
                continue
            self._slots.claim(sequence)
            if len(sequence.prompt) - sequence.cached == 1:
                self._slots.promote(sequence)
            else:
                self._prefilling.append(sequence)
                batched += len(sequence.prompt) - sequence.cached
        self._waiting.put_back(postponed)

    def _shares_unfinished(self, sequence: Sequence) -> bool:
        if not self._prefilling or not self._slots.reuse:
            return False
        size = len(sequence.prompt)
        pending = max(min(common(sequence.prompt, other.prompt), size - 1) for other in self._prefilling)
        if not worth(pending, size):
            return False
        return worth(pending - self._slots.longest(sequence)[1], size)

    def _prefill(self, budget: int) -> int:
        """Compute prompt tokens of the oldest sequence, in a batch with others where that is possible."""
        group = self._group(budget)
        first = group[0].row
        past = self._slots.lengths[first : first + len(group)].copy()
        counts = np.array([len(s.prompt) for s in group], np.int64) - past
        counts = np.minimum(counts, budget)
        ids = np.zeros((len(group), int(counts.max())), np.int64)
        for row, (sequence, begin, count) in enumerate(zip(group, past, counts, strict=True)):
            ids[row, :count] = sequence.prompt[begin : begin + count]
        self._assign(group)
        logits = self._backend.forward(first, ids, past, counts)
        self._slots.append(first, ids, counts)
        whole = [i for i, s in enumerate(group) if past[i] + counts[i] == len(s.prompt)]
        if whole:
            done = [group[i] for i in whole]
            for sequence in done:
                self._prefilling.remove(sequence)
                self._slots.promote(sequence)
            self._accept(logits if len(whole) == len(group) else logits[whole], done)
        return ids.size

    def _group(self, budget: int) -> list[Sequence]:
        """The oldest sequence and the neighbours that fit into the same call without much padding."""
        oldest = self._prefilling[0]
        self._slots.lead(oldest)
        group = [oldest]
        sizes = [len(oldest.prompt) - int(self._slots.lengths[oldest.row])]
        for row in range(oldest.row + 1, self._slots.busy):
            sequence, past = self._slots.owners[row], int(self._slots.lengths[row])
            mixed = not self._backend.continues_batches and (past or self._slots.lengths[oldest.row])
            if sequence is None or mixed:
                break
            sizes.append(len(sequence.prompt) - past)
            padded = max(sizes) * len(sizes)
            if padded > budget or padded > 1.5 * sum(sizes):
                break
            group.append(sequence)
        return group

    def _decode(self) -> None:
        running = self._slots.running
        sequences = [owner for owner in self._slots.owners[:running] if owner is not None]
        ids = np.array([[sequence.input] for sequence in sequences], np.int64)
        ones = np.ones(running, np.int64)
        self._assign(sequences)
        logits = self._backend.forward(0, ids, self._slots.lengths[:running], ones)
        self._slots.append(0, ids, ones)
        self._accept(logits, sequences)

    def _assign(self, sequences: list[Sequence]) -> None:
        if not self._backend.mixes:
            return
        for tenant in {sequence.tenant for sequence in sequences}:
            if (error := self._select(tenant)) is not None:
                for sequence in sequences:
                    if sequence.tenant == tenant:
                        self._end_call(sequence, error)
                        sequence.tenant = ""  # for the rest of this step, after which it is dropped
        self._backend.assign([sequence.tenant for sequence in sequences])

    def _select(self, tenant: str) -> LongThinkError | None:
        """Why a tenant's weights cannot be had, if so."""
        try:
            self._backend.select(tenant)
        except LongThinkError as error:
            return error
        except (OSError, ValueError) as error:
            return EngineUnavailable(str(error))
        return None

    def _accept(self, logits: Logits, sequences: list[Sequence]) -> None:
        """Draw a token for each sequence and pass it on; free the slots of those that are complete."""
        ids = choose(logits, [sequence.draw for sequence in sequences])
        wanted = [sequence.sampling.logprobs for sequence in sequences]
        details = logprobs(logits, ids, wanted, self._words.word)
        ended = []
        for sequence, id, detail in zip(sequences, ids.tolist(), details, strict=True):
            self._post(sequence.stream, sequence.accept(id, detail))
            if sequence.finish is not None:
                ended.append(sequence)
        # From the back, so that a batch that ends together moves no keys and values.
        for sequence in sorted(ended, key=lambda s: -s.row):
            self._release(sequence)

    def _release(self, sequence: Sequence) -> None:
        if sequence.row >= self._slots.running:
            self._prefilling.remove(sequence)
        self._slots.release(sequence)
