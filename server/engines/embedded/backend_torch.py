"""Logits from transformers' own model classes, on the CPU or one GPU. Rule: any model with a plain key-value cache.

The module needs torch and is imported only when it is chosen.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.cache_utils import Cache, CacheLayerMixin

from decoders.core.errors import EngineUnavailable
from server.engines.embedded.backend import Integers, Logits, affordable
from server.engines.embedded.checkpoint import Checkpoint, Settings, Weights, weights
from server.engines.embedded.export import Shape
from server.engines.embedded.models import Models, Tenants

_BUDGET = 8 << 30
"""Bytes for the cache; on a GPU half of what the weights leave free, if that is less."""


class TorchBackend:
    """A transformers model that reads and writes the slots through its cache interface.

    A `model` that is given is used as it is, where it is: its weights may change between calls.
    """

    continues_batches = True
    mixes = False

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str = "auto",
        slots: int,
        context: int,
        threads: int | None = None,
        model: Any = None,
        tenants: Tenants | None = None,
    ) -> None:
        if reason := _refusal(checkpoint.config):
            raise EngineUnavailable(f"{checkpoint.folder} cannot be served: {reason}")
        if threads is not None:
            torch.set_num_threads(threads)
        self._model = _loaded(checkpoint, device) if model is None else model
        self._device = next(self._model.parameters()).device
        self._dtype = next(self._model.parameters()).dtype
        parameters = inspect.signature(self._model.forward).parameters
        self._slices = "logits_to_keep" in parameters
        self._cache_name = "cache" if "cache" in parameters else "past_key_values"  # renamed in transformers 5.24
        self.capacity = context
        row = _bytes_per_token(checkpoint.config, self._dtype) * context
        budget = _BUDGET
        if self._device.type == "cuda":
            budget = torch.cuda.mem_get_info(self._device)[0] // 2
        self.slots = affordable(slots, row, budget)
        layers = int(checkpoint.config["num_hidden_layers"])
        self._layers = [_SlotLayer(self.slots, context) for _ in range(layers)]
        self._cache = Cache(layers=list(self._layers))
        self._parameters = dict(self._model.named_parameters())
        base = {name: parameter.data for name, parameter in self._parameters.items()} if tenants else {}
        self._models = Models(base, self._placed, tenants, weights(checkpoint.folder) if tenants else {})
        self._models.check()

    @torch.inference_mode()
    def forward(self, first: int, ids: Integers, past: Integers, counts: Integers) -> Logits:
        """See `Backend.forward`."""
        inputs, before, real = (torch.from_numpy(array).to(self._device) for array in (ids, past, counts))
        steps = torch.arange(ids.shape[1], device=self._device)
        positions = before[:, None] + steps
        padding = steps >= real[:, None]
        total = int((past + counts).max())
        for layer in self._layers:
            # Padding is written to the spare position behind the context, where nothing reads it.
            layer.aim(first, positions.masked_fill(padding, self.capacity), total)
        positions = positions.masked_fill(padding, 0)
        hidden = torch.arange(total, device=self._device) > positions[:, :, None]
        mask = torch.zeros(hidden.shape, dtype=self._dtype, device=self._device)
        mask.masked_fill_(hidden, torch.finfo(self._dtype).min)
        arguments: dict[str, Any] = {self._cache_name: self._cache, "use_cache": True}
        last = real - 1
        if self._slices:
            places, last = torch.unique(last, return_inverse=True)
            arguments["logits_to_keep"] = places
        logits = self._model(inputs, attention_mask=mask[:, None], position_ids=positions, **arguments).logits
        chosen: Logits = logits[torch.arange(len(ids), device=self._device), last].float().cpu().numpy()
        return chosen

    @torch.inference_mode()
    def copy(self, source: int, target: int, length: int) -> None:
        """See `Backend.copy`."""
        for cache in self._tensors():
            cache[target, :, :length] = cache[source, :, :length]

    @torch.inference_mode()
    def swap(self, one: int, other: int, length: int) -> None:
        """See `Backend.swap`."""
        for cache in self._tensors():
            kept = cache[one, :, :length].clone()
            cache[one, :, :length] = cache[other, :, :length]
            cache[other, :, :length] = kept

    @torch.inference_mode()
    def wipe(self, slot: int, begin: int, end: int) -> None:
        """See `Backend.wipe`."""
        for cache in self._tensors():
            cache[slot, :, begin:end] = 0

    def select(self, tenant: str) -> None:
        """See `Backend.select`."""
        changed = self._models.of(tenant)
        for name, tensor in {**self._models.of(""), **changed}.items():
            self._parameters[name].data = tensor

    def assign(self, tenants: Sequence[str]) -> None:
        """See `Backend.assign`."""
        raise NotImplementedError("rows of several tenants cannot be mixed here")

    def renew(self) -> None:
        """See `Backend.renew`."""
        self.select("")
        self._models.forget()

    def _placed(self, changed: Weights) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(weight).to(self._device, self._dtype) for name, weight in changed.items()}

    def _tensors(self) -> list[torch.Tensor]:
        return [cache for layer in self._layers for cache in (layer.keys, layer.values) if cache is not None]


def _loaded(checkpoint: Checkpoint, device: str) -> Any:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float32 if torch.device(device).type == "cpu" else "auto"
    model: Any = AutoModelForCausalLM.from_pretrained(checkpoint.folder, dtype=dtype)
    return model.to(device).eval()


class _SlotLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """Keys and values of one layer for all slots, [slots, heads, context + 1, head]; `aim` says where a call writes."""

    is_sliding = False

    def __init__(self, slots: int, context: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._slots, self._context = slots, context

    def aim(self, first: int, positions: torch.Tensor, total: int) -> None:
        """The next call is about the rows from `first` on, writes at `positions` and reads `total` tokens."""
        self._first, self._positions, self._total = first, positions, total
        self._rows = torch.arange(first, first + len(positions), device=positions.device)[:, None]

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate in the shape and type that the model uses."""
        self.keys, self.values = (
            state.new_zeros(self._slots, state.shape[1], self._context + 1, state.shape[3])
            for state in (key_states, value_states)
        )
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new states and return all that the rows hold."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        end = self._first + len(self._positions)
        self.keys[self._rows, :, self._positions] = key_states.transpose(1, 2)
        self.values[self._rows, :, self._positions] = value_states.transpose(1, 2)
        return self.keys[self._first : end, :, : self._total], self.values[self._first : end, :, : self._total]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of what is read."""
        return self._total, 0

    def get_seq_length(self) -> int:
        """Tokens before this call in the longest row."""
        return self._total - self._positions.shape[1]

    def get_max_length(self) -> int:
        """Tokens that a row can hold."""
        return self._context


def _refusal(config: Settings) -> str | None:
    unknown = set(config.get("layer_types") or []) - {"full_attention", "sliding_attention"}
    if unknown:
        return f"layers of type {', '.join(sorted(unknown))} have no plain key-value cache"
    if "num_hidden_layers" not in config:
        return "config.json has no num_hidden_layers at its top"
    return None


def _bytes_per_token(config: Settings, dtype: torch.dtype) -> int:
    shape = Shape.of(config)
    return 2 * shape.layers * shape.key_heads * shape.head * dtype.itemsize
