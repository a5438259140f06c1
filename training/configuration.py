"""From the command line to a recipe's settings: its defaults, a preset, a file, `--set`, in this order.

Rule: every setting has one name everywhere, a dotted path such as `loss.kl`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from pydantic import BaseModel


def settings(recipe: ModuleType, preset: str | None, file: Path | None, changes: Iterable[str]) -> BaseModel:
    """The validated settings. `ValueError` for what cannot be read, pydantic's `ValidationError` for what is wrong."""
    chosen: dict[str, Any] = {}
    presets: Mapping[str, Mapping[str, Any]] = getattr(recipe, "PRESETS", {})
    if preset is not None:
        if preset not in presets:
            raise ValueError(f"--preset {preset}: there are {', '.join(presets) or 'none'}")
        chosen = merged(chosen, presets[preset])
    if file is not None:
        chosen = merged(chosen, {k: v for k, v in read(file).items() if k != "recipe"})
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise ValueError(f"--set {change}: NAME=VALUE is wanted")
        chosen = merged(chosen, nested(name.split("."), literal(value)))
    made: BaseModel = recipe.Config.model_validate(chosen)
    return made


def read(file: Path) -> dict[str, Any]:
    """A TOML, YAML or JSON file with a table of settings at its top."""
    readers: dict[str, Callable[[str], Any]] = {".toml": tomllib.loads, ".json": json.loads}
    readers |= dict.fromkeys((".yaml", ".yml"), yaml.safe_load)
    if file.suffix not in readers:
        raise ValueError(f"{file}: settings are read from {', '.join(readers)}")
    try:
        found = readers[file.suffix](file.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{file}: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file}: a table of settings is wanted")
    return found


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid upon `under`, tables inside too."""
    made = dict(under)
    for name, value in over.items():
        both = isinstance(value, Mapping) and isinstance(made.get(name), Mapping)
        made[name] = merged(made[name], value) if both else value
    return made


def nested(path: list[str], value: Any) -> dict[str, Any]:
    """A value at the end of a path of names."""
    return {path[0]: value if len(path) == 1 else nested(path[1:], value)}


def literal(text: str) -> Any:
    """A value as JSON has it, `none`, or the text itself."""
    if text in ("none", "None"):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False}.get(text, text)
