"""Engines by name. Rule: an engine's module, and with it torch or onnxruntime, is imported only when it is chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from decoders.core.engine import Engine

__all__ = ["NAMES", "create", "start"]


def _embedded(folder: Path, options: Mapping[str, Any]) -> Engine:
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"no model at {folder}: a folder with the config.json of a Hugging Face checkpoint is needed"
        )
    cls = import_module("server.engines.embedded").EmbeddedEngine
    return cast(Engine, cls(folder, **options))


def _scripted(folder: Path, options: Mapping[str, Any]) -> Engine:
    cls = import_module("server.engines.scripted").ScriptedEngine
    return cast(Engine, cls(**{k: v for k, v in options.items() if v is not None}))


_FACTORIES: Mapping[str, Callable[[Path, Mapping[str, Any]], Engine]] = {"embedded": _embedded, "scripted": _scripted}

NAMES = tuple(_FACTORIES)


def create(name: str, folder: Path, **options: Any) -> Engine:
    """The engine `name` for the checkpoint in `folder`; `options` are its constructor's keywords.

    Raises `FileNotFoundError` where the folder holds no checkpoint.
    """
    return _FACTORIES[name](folder, options)


async def start(engine: Engine) -> None:
    """Load what the engine needs before it takes calls; some need nothing."""
    begin = getattr(engine, "start", None)
    if begin is not None:
        await begin()
