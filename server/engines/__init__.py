"""Engines by name. Rule: an engine's module, and with it torch, onnxruntime or vLLM, is imported only when chosen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from decoders.core.engine import Engine

if TYPE_CHECKING:
    from server.model_options import ModelOptions

__all__ = ["NAMES", "open_engines"]

Engines = Mapping[str, Engine]


async def _embedded(options: ModelOptions) -> Engines:
    from server.model_options import SHIPPED

    folder = Path(options.model or SHIPPED)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"no model at {folder}: a folder with the config.json of a Hugging Face checkpoint is needed"
        )
    engine = import_module("server.engines.embedded").EmbeddedEngine(
        folder, model=options.name, tenants=options.tenants, **options.embedded.model_dump()
    )
    await engine.start()
    return {options.name: engine}


async def _scorer(options: ModelOptions) -> Engines:
    if options.model is None:
        raise ValueError("the engine scorer needs a file: --model FILE, as `longthink train privacy scorer` writes it")
    cls = import_module("server.engines.scorer").ScorerEngine
    return {options.name: cls(Path(options.model), model=options.name)}


async def _scripted(options: ModelOptions) -> Engines:
    cls = import_module("server.engines.scripted").ScriptedEngine
    return {options.name: cls(model=options.name, **options.scripted.model_dump())}


async def _upstream(options: ModelOptions) -> Engines:
    engines: Engines = await import_module("server.engines.upstream").connect(options)
    return engines


async def _vllm(options: ModelOptions) -> Engines:
    engines: Engines = await import_module("server.engines.vllm").start(options)
    return engines


_FACTORIES: Mapping[str, Callable[[ModelOptions], Awaitable[Engines]]] = {
    "embedded": _embedded,
    "scorer": _scorer,
    "scripted": _scripted,
    "upstream": _upstream,
    "vllm": _vllm,
}

NAMES = tuple(_FACTORIES)
_TENANTED = ("embedded", "vllm")


async def open_engines(options: ModelOptions) -> Engines:
    """The engines of one entry of the settings, ready to take calls, by the names under which they are served.

    Most entries make one; an upstream makes one for each model it has, vLLM one more for each LoRA adapter. Raises
    `ValueError` or `OSError` with a message for the operator, `EngineUnavailable` where a model cannot be loaded.
    """
    if options.tenants is not None and options.kind not in _TENANTED:
        raise ValueError(f"--tenants: the engine {options.kind} has none, only {' and '.join(_TENANTED)}")
    return await _FACTORIES[options.kind](options)
