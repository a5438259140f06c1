"""Continuous batching: one thread that steps the model. Rule: sequences join and leave only between two steps.

A step prefills a bounded number of prompt tokens and then decodes one token for every running sequence, so that a
long prompt delays the others by a bounded time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Iterable
from queue import Empty, SimpleQueue

import numpy as np

from decoders.core.engine import Chunk
from decoders.core.errors import EngineError, EngineUnavailable
from server.engines.embedded.backend import Backend, Logits
from server.engines.embedded.sampler import choose, logprobs
from server.engines.embedded.sequence import Sequence, Stream
from server.engines.embedded.slots import Slots, common, worth
from server.engines.embedded.tokenizer import ChatTokenizer

_LOG = logging.getLogger(__name__)

_PREFILL = 256
"""Prompt tokens per step: larger ones gain no speed on a CPU and delay the first tokens of the others."""

Letter = tuple[Stream, Chunk | EngineError]


class Scheduler:
    """Owns the backend and the thread that uses it; `submit`, `abort` and `close` may be called from any thread."""

    def __init__(self, backend: Backend, words: ChatTokenizer, *, prefill: int = _PREFILL, reuse: bool = True) -> None:
        self.error: EngineError | None = None
        """Why no more calls are taken."""
        self.steps = 0
        self._backend, self._words = backend, words
        self._slots = Slots(backend, reuse=reuse)
        self._budget = prefill
        self._waiting: deque[Sequence] = deque()
        self._prefilling: deque[Sequence] = deque()
        self._mail: dict[asyncio.AbstractEventLoop, list[Letter]] = {}
        self._inbox: SimpleQueue[list[Sequence] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="embedded-engine", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        """Sequences that have a slot."""
        return self._slots.busy

    @property
    def waiting(self) -> int:
        """Sequences that wait for a slot."""
        return len(self._waiting)

    def submit(self, sequences: list[Sequence]) -> None:
        """Queue the completions of one call; raises `EngineUnavailable` once the thread has ended."""
        with self._lock:
            if self.error is not None:
                raise EngineUnavailable(str(self.error))
            self._inbox.put(sequences)

    def abort(self, sequences: Iterable[Sequence]) -> None:
        """Free what the sequences hold before the next step."""
        for sequence in sequences:
            sequence.cancelled = True
        self._inbox.put([])

    def close(self) -> None:
        """End the thread; what runs gets `EngineUnavailable`."""
        with self._lock:
            self.error = self.error or EngineUnavailable("the engine is closed")
        self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._receive():
                self._drop()
                self._step()
                self._deliver()
        except Exception as error:
            _LOG.exception("the engine thread died")
            self._end(EngineError(f"the engine thread died: {type(error).__name__}: {error}"))
        else:
            self._end(EngineUnavailable("the engine was closed"))

    def _receive(self) -> bool:
        """Take what has arrived, waiting for it when there is nothing to do; False when the engine is closed."""
        idle = not self._waiting and not self._slots.busy
        try:
            while True:
                arrived = self._inbox.get(block=idle)
                if arrived is None:
                    return False
                self._waiting.extend(arrived)
                idle = idle and not arrived
        except Empty:
            return True

    def _drop(self) -> None:
        """Forget the sequences that nobody reads any more."""
        if any(sequence.cancelled for sequence in self._waiting):
            self._waiting = deque(sequence for sequence in self._waiting if not sequence.cancelled)
        for owner in self._slots.owners[: self._slots.busy][::-1]:
            if owner is not None and owner.cancelled:
                self._release(owner)

    def _step(self) -> None:
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
        while self._waiting and self._slots.free > len(postponed) and batched < self._budget:
            sequence = self._waiting.popleft()
            if self._shares_unfinished(sequence):
                postponed.append(sequence)
                continue
            self._slots.claim(sequence)
            if len(sequence.prompt) - sequence.cached == 1:
                self._slots.promote(sequence)
            else:
                self._prefilling.append(sequence)
                batched += len(sequence.prompt) - sequence.cached
        self._waiting.extendleft(reversed(postponed))

    def _shares_unfinished(self, sequence: Sequence) -> bool:
        if not self._prefilling or not self._slots.reuse:
            return False
        size = len(sequence.prompt)
        pending = max(min(common(sequence.prompt, other.prompt), size - 1) for other in self._prefilling)
        if not worth(pending, size):
            return False
        return worth(pending - self._slots.longest(sequence.prompt)[1], size)

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
        logits = self._backend.forward(0, ids, self._slots.lengths[:running], ones)
        self._slots.append(0, ids, ones)
        self._accept(logits, sequences)

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

    def _post(self, stream: Stream, item: Chunk | EngineError) -> None:
        self._mail.setdefault(stream.loop, []).append((stream, item))

    def _deliver(self) -> None:
        """Hand over the step's chunks with one wake-up per event loop."""
        for loop, letters in self._mail.items():
            # A loop that was closed has nobody left to read; its calls were aborted with it.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_push, letters)
        self._mail = {}

    def _end(self, error: EngineError) -> None:
        with self._lock:
            self.error = self.error or error
            while not self._inbox.empty():
                self._waiting.extend(self._inbox.get() or [])
        held = [owner for owner in self._slots.owners if owner is not None]
        for stream in {id(s.stream): s.stream for s in [*held, *self._waiting]}.values():
            self._post(stream, error if stream.started else EngineUnavailable(str(error)))
        self._waiting.clear()
        self._deliver()


def _push(letters: list[Letter]) -> None:
    for stream, item in letters:
        stream.push(item)
