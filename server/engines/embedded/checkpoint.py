"""Reads a Hugging Face checkpoint folder: settings and weights. Rule: numpy only, so that serving needs no torch."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decoders.core.errors import EngineUnavailable

Settings = Mapping[str, Any]
Weights = dict[str, NDArray[np.float32]]

_STORED: dict[str, str] = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_USUAL_CONTEXT = 4096
"""Longer contexts are served when asked for; the cache is laid out for the whole context of every slot."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the folder says about the model, without its weights."""

    folder: Path
    config: Settings
    defaults: Mapping[str, float | int]
    """Sampling defaults of generation_config.json, empty where the model card asks for greedy decoding."""
    eos: frozenset[int]
    pack: str | None
    """The template pack that `longthink.json` names."""

    @classmethod
    def read(cls, folder: Path) -> Checkpoint:
        """Raises `EngineUnavailable` when the folder is not a checkpoint."""
        if not (folder / "config.json").is_file():
            raise EngineUnavailable(f"{folder} is not a checkpoint: it has no config.json")
        config = _load(folder / "config.json")
        generation = _load(folder / "generation_config.json")
        pack = _load(folder / "longthink.json").get("pack")
        return cls(folder, config, _defaults(generation), _eos(generation, config), None if pack is None else str(pack))

    @property
    def fingerprint(self) -> str:
        """Changes when a file of the folder does: names, sizes and times of change, not the weights themselves."""
        files = sorted(path for path in self.folder.iterdir() if path.is_file())
        seen = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        return hashlib.sha256(repr(seen).encode()).hexdigest()[:16]

    def context(self, wanted: int | None) -> int:
        """Tokens of context to serve: what is wanted, within what the model was made for and a sliding window sees."""
        most = int(self.config.get("max_position_embeddings") or _USUAL_CONTEXT)
        return min(most, window(self.config) or most, _USUAL_CONTEXT if wanted is None else wanted)


def weights(folder: Path) -> Weights:
    """All tensors of the checkpoint in float32, whatever precision they are stored in, from one file or from shards."""
    index = folder / "model.safetensors.index.json"
    names = sorted(set(_load(index)["weight_map"].values())) if index.is_file() else ["model.safetensors"]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise EngineUnavailable(f"{folder} has no {missing[0]}; only safetensors weights are read")
    return {key: tensor for name in names for key, tensor in _tensors(folder / name)}


def window(config: Settings) -> int | None:
    """The sliding window, where a layer has one; a context within it is the same as full attention."""
    layers = config.get("layer_types")
    if config.get("use_sliding_window") is False or (layers and "sliding_attention" not in layers):
        return None
    return config.get("sliding_window")


def rope(config: Settings) -> Settings:
    """Rotary settings, from the newer `rope_parameters` or the older `rope_theta` with `rope_scaling`."""
    found = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    found.setdefault("rope_theta", config.get("rope_theta", 10000.0))
    found.setdefault("rope_type", found.get("type", "default"))
    return found


def inverse_frequencies(settings: Settings, size: int) -> NDArray[np.float64]:
    """Radians per position for each pair of a head of `size`; types default, linear and llama3, else `ValueError`."""
    frequencies = 1.0 / float(settings["rope_theta"]) ** (np.arange(0, size, 2, dtype=np.float64) / size)
    match settings["rope_type"]:
        case "default":
            return frequencies
        case "linear":
            return frequencies / float(settings["factor"])
        case "llama3":
            return _llama3(frequencies, settings)
        case other:
            raise ValueError(f"rope scaling {other!r}")


def _llama3(frequencies: NDArray[np.float64], settings: Settings) -> NDArray[np.float64]:
    low, high = float(settings["low_freq_factor"]), float(settings["high_freq_factor"])
    turns = float(settings["original_max_position_embeddings"]) * frequencies / (2 * math.pi)
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return frequencies * (kept + (1.0 - kept) / float(settings["factor"]))


def _tensors(path: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    # The safetensors library has no numpy type for bfloat16; the format is a JSON header and raw rows.
    data = np.memmap(path, dtype=np.uint8, mode="r")
    size = int(data[:8].view("<u8")[0])
    header: dict[str, Any] = json.loads(data[8 : 8 + size].tobytes())
    for key, entry in header.items():
        if key == "__metadata__" or entry["dtype"] not in _STORED:
            continue
        begin, end = entry["data_offsets"]
        raw = data[8 + size + begin : 8 + size + end].tobytes()
        values = np.frombuffer(raw, dtype=_STORED[entry["dtype"]]).reshape(entry["shape"])
        if entry["dtype"] == "BF16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        yield key, values.astype(np.float32, copy=False)


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EngineUnavailable(f"{path} is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise EngineUnavailable(f"{path} does not hold an object")
    return found


def _defaults(generation: Settings) -> dict[str, float | int]:
    if not generation.get("do_sample"):
        return {}
    return {key: generation[key] for key in ("temperature", "top_p", "top_k") if generation.get(key) is not None}


def _eos(generation: Settings, config: Settings) -> frozenset[int]:
    ids = generation.get("eos_token_id")
    if ids is None:
        ids = config.get("eos_token_id")
    return frozenset([] if ids is None else [ids] if isinstance(ids, int) else ids)
