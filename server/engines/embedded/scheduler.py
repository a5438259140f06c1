"""The thread that steps the model. Rule: only it touches the backend; everybody else leaves it a message."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any

from decoders.core.engine import Chunk
from decoders.core.errors import EngineError, EngineUnavailable, LongThinkError
from server.engines.embedded.backend import Backend
from server.engines.embedded.batcher import Batcher
from server.engines.embedded.sequence import Sequence, Stream
from server.engines.embedded.tokenizer import ChatTokenizer

_LOG = logging.getLogger(__name__)

Letter = tuple[Stream, Chunk | LongThinkError]
Job = tuple[Callable[[], None], Future[None]]


class Scheduler(Batcher):
    """Continuous batching in a thread; `submit`, `abort` and `close` may be called from any other."""

    def __init__(self, backend: Backend, words: ChatTokenizer, **options: Any) -> None:
        super().__init__(backend, words, **options)
        self.error: EngineError | None = None
        """Why no more calls are taken."""
        self._mail: dict[asyncio.AbstractEventLoop, list[Letter]] = {}
        self._inbox: SimpleQueue[list[Sequence] | Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="embedded-engine", daemon=True)
        self._thread.start()

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

    def do(self, work: Callable[[], None]) -> Future[None]:
        """Have something done by the thread, between two steps."""
        done: Future[None] = Future()
        with self._lock:
            if self.error is not None:
                raise EngineUnavailable(str(self.error))
            self._inbox.put((work, done))
        return done

    def close(self) -> None:
        """End the thread; what runs gets `EngineUnavailable`."""
        with self._lock:
            self.error = self.error or EngineUnavailable("the engine is closed")
        self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._receive():
                self._work()
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
                if isinstance(arrived, tuple):
                    _finish(*arrived)
                    idle = False
                else:
                    self._waiting.extend(arrived)
                    idle = idle and not arrived
        except Empty:
            return True

    def _post(self, stream: Stream, item: Chunk | LongThinkError) -> None:
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
                arrived = self._inbox.get()
                if isinstance(arrived, tuple):
                    arrived[1].set_exception(EngineUnavailable(str(self.error)))
                else:
                    self._waiting.extend(arrived or [])
        held = [owner for owner in self._slots.owners if owner is not None]
        for stream in {id(s.stream): s.stream for s in [*held, *self._waiting]}.values():
            self._post(stream, error if stream.started else EngineUnavailable(str(error)))
        self._waiting.clear()
        self._deliver()


def _finish(work: Callable[[], None], done: Future[None]) -> None:
    try:
        work()
    except Exception as error:
        done.set_exception(error)
        if not isinstance(error, LongThinkError):
            raise
    else:
        done.set_result(None)


def _push(letters: list[Letter]) -> None:
    for stream, item in letters:
        stream.push(item)
