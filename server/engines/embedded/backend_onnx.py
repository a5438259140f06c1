"""Logits from onnxruntime on the CPU. Rule: a step moves no keys and values; the graph writes new ones in place."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.engines.embedded.backend import Integers, Logits, affordable
from server.engines.embedded.checkpoint import Checkpoint, Weights, weights
from server.engines.embedded.export import Exported, export
from server.engines.embedded.models import Models, Tenants

_SMALL = 8 << 20
"""Bytes of weights up to which one thread is the fastest: a step is shorter than waking a second one pays for."""

_BUDGET = 8 << 30
"""Bytes of address space for the cache; the system hands out pages as they are written."""


@dataclass(slots=True)
class _Call:
    """Buffers of one shape of call, bound once; the addresses stay the same."""

    binding: Any
    ids: NDArray[np.int64]
    last: NDArray[np.int64]
    lengths: NDArray[np.int32]
    total: NDArray[np.int32]
    logits: Logits


class _Session:
    """A graph over one set of weights, with the calls that were bound for it."""

    def __init__(self, exported: Exported, threads: int | None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        size = sum(tensor.nbytes for tensor in exported.tensors.values())
        options.intra_op_num_threads = _threads(size) if threads is None else threads
        # Threads that spin while they wait halve the speed as soon as another process wants the cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # The session refers to these arrays for as long as it lives.
        self._tensors = exported.tensors
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(tensor) for tensor in self._tensors.values()]
        options.add_external_initializers(list(self._tensors), values)
        self._kept = values
        self.session = onnxruntime.InferenceSession(exported.graph, options, providers=["CPUExecutionProvider"])
        self.decoding: dict[int, _Call] = {}


class OnnxBackend:
    """A session over the exported graph and a buffer of keys and values per layer, [slots, heads, capacity, head].

    Every tenant has a session of its own, and all write into the same buffers.
    """

    continues_batches = False
    mixes = False

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        slots: int,
        context: int,
        threads: int | None,
        tenants: Tenants | None = None,
    ) -> None:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # its wheels report usage unless told not to
        read = weights(checkpoint.folder)
        exported = export(checkpoint, context, read)
        shape = exported.shape
        self.capacity = context
        row = shape.key_heads * context * shape.head
        self.slots = affordable(slots, row * 4 * 2 * shape.layers, _BUDGET)
        layout = (self.slots, shape.key_heads, context, shape.head)
        self._caches = [np.zeros(layout, np.float32) for _ in range(2 * shape.layers)]
        self._logits = np.zeros((self.slots, shape.vocabulary), np.float32)

        def make(changed: Weights) -> _Session:
            return _Session(export(checkpoint, context, {**read, **changed}), threads)

        self._current = _Session(exported, threads)
        self._models = Models(self._current, make, tenants, read)
        self._models.check()

    def forward(self, first: int, ids: Integers, past: Integers, counts: Integers) -> Logits:
        """See `Backend.forward`; rows that hold tokens take several more only one row at a time."""
        rows, width = ids.shape
        decodes = width == 1 and first == 0
        call = self._current.decoding.get(rows) if decodes else None
        if call is None:
            call = self._bind(first, rows, width)
            if decodes:
                self._current.decoding[rows] = call
        call.ids[:] = ids
        call.last[:, 0] = counts - 1
        np.add(past, counts - 1, out=call.lengths, casting="unsafe")
        call.total[...] = call.lengths.max() + 1
        self._current.session.run_with_iobinding(call.binding)
        return call.logits

    def copy(self, source: int, target: int, length: int) -> None:
        """See `Backend.copy`."""
        for cache in self._caches:
            cache[target, :, :length] = cache[source, :, :length]

    def swap(self, one: int, other: int, length: int) -> None:
        """See `Backend.swap`."""
        for cache in self._caches:
            kept = cache[one, :, :length].copy()
            cache[one, :, :length] = cache[other, :, :length]
            cache[other, :, :length] = kept

    def wipe(self, slot: int, begin: int, end: int) -> None:
        """See `Backend.wipe`."""
        for cache in self._caches:
            cache[slot, :, begin:end] = 0

    def select(self, tenant: str) -> None:
        """See `Backend.select`."""
        self._current = self._models.of(tenant)

    def assign(self, tenants: Sequence[str]) -> None:
        """See `Backend.assign`."""
        raise NotImplementedError("rows of several tenants cannot be mixed here")

    def renew(self) -> None:
        """See `Backend.renew`."""
        self._current = self._models.of("")
        self._models.forget()

    def _bind(self, first: int, rows: int, width: int) -> _Call:
        call = _Call(
            self._current.session.io_binding(),
            np.zeros((rows, width), np.int64),
            np.zeros((rows, 1), np.int64),
            np.zeros(rows, np.int32),
            np.zeros((), np.int32),
            self._logits[:rows],
        )
        for name, array in (("input_ids", call.ids), ("last", call.last), ("lengths", call.lengths)):
            call.binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        call.binding.bind_input("total", "cpu", 0, np.int32, (), call.total.ctypes.data)
        for number, cache in enumerate(self._caches):
            part = cache[first : first + rows]
            name = f"{number // 2}.{'value' if number % 2 else 'key'}"
            call.binding.bind_input(f"past.{name}", "cpu", 0, np.float32, part.shape, part.ctypes.data)
            call.binding.bind_output(f"present.{name}", "cpu", 0, np.float32, part.shape, part.ctypes.data)
        logits = call.logits
        call.binding.bind_output("logits", "cpu", 0, np.float32, logits.shape, logits.ctypes.data)
        return call


def _threads(size: int) -> int:
    """Threads for weights of so many bytes: the cores that this process may use, but no more than help."""
    return 1 if size <= _SMALL else min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4)
