"""A second policy of a run: a model of its own, trained by a trainer of its own on the rows that name it.

Rule: two trainers never compute at the same time. Who hands over rows waits until they are learned, so a run with two
policies is as deterministic as one with a single policy.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from transformers import AutoTokenizer, PrinterCallback

from training import record
from training.engines import start
from training.engines.weights import gathered
from training.policy import load
from training.rows import Row
from training.settings import Reinforcement
from training.trainer import RowTrainer


class Partner:
    """Starts from the same checkpoint as `policy`, the run's own model, with whose adapters it shares frozen weights.

    Its trainer has a thread, in which it waits for the rows of its next step.
    """

    def __init__(self, config: Reinforcement, name: str, policy: Any) -> None:
        self.config = config.model_copy(update={"output": config.output / name})
        self.model: Any = load(self.config, beside=policy)
        self.engine = start(self.config, self.model, name)
        words = AutoTokenizer.from_pretrained(config.model)
        self._trainer = RowTrainer(self.config, self.model, words, self._collect, exact=self.engine.exact)
        self._trainer.remove_callback(PrinterCallback)
        self._rows: SimpleQueue[Sequence[Row] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._train, name=name, daemon=True)
        self._begun: str | None = None
        self._idle = threading.Semaphore(0)
        self._error: BaseException | None = None

    def begin(self, checkpoint: str | None) -> None:
        """Start, or go on from the checkpoint of this name."""
        self._begun = None if checkpoint is None else str(self.folder / "checkpoints" / checkpoint)
        self._thread.start()
        self._wait()

    def learn(self, rows: Sequence[Row]) -> None:
        """Train one step on these rows."""
        self._rows.put(rows)
        self._wait()

    def end(self) -> None:
        """Let go of the thread, also where training ended early."""
        if self._thread.ident is not None:
            self._rows.put(None)
            self._thread.join()
        self._trainer.close()

    def save(self, writes: bool) -> None:
        """Write the model, by the process that `writes`; the others take part, for each may have a part of it."""
        state = gathered(self.model)
        if writes:
            record.save(self.model, state, self.config.model, self.folder)

    def _wait(self) -> None:
        self._idle.acquire()
        if self._error is not None:
            raise self._error

    def _train(self) -> None:
        try:
            self._trainer.train(resume_from_checkpoint=self._begun)
        except BaseException as error:  # raised again where the rows come from
            self._error = error
        finally:
            self._idle.release()

    async def _collect(self, step: int) -> Sequence[Row]:
        self._idle.release()
        rows = self._rows.get()
        if rows is None:
            raise InterruptedError("the run has ended before its second policy was trained")
        return rows

    @property
    def folder(self) -> Path:
        """Where its model is written in the end."""
        return self.config.output
