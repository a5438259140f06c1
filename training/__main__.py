"""`longthink train <recipe>`: the modules of `training/recipes/` are the recipes, each with a `Config` and `train`."""

from __future__ import annotations

import argparse
import json
import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from pydantic import BaseModel, ValidationError

from training.configuration import settings
from training.settings import OtherRun

COMMANDS = ("ledger", "lock", "overhead", "privacy", "study")
"""What else `longthink train` can do: modules with a `main`."""
INSTALL = "pip install torch==2.13.0, then pip install -e '.[train]'"


def names(package: str) -> list[str]:
    """All recipes or studies: the folder is the registry."""
    return sorted(module.name for module in pkgutil.iter_modules(import_module(package).__path__))


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="longthink train", description="Train a checkpoint for the decoders.")
    made.add_argument("recipe", nargs="?", choices=names("training.recipes"), help="what to train")
    made.add_argument("--list", action="store_true", help="print every recipe, or the settings of the one named")
    made.add_argument("--preset", help="`tiny` runs on two CPU cores, `paper` has the paper's settings")
    made.add_argument("--config", type=Path, metavar="FILE", help="settings from a TOML, YAML or JSON file")
    made.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting, such as loss.kl"
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Train one recipe and return the exit status: 2 for wrong usage."""
    try:
        return _main(list(sys.argv[1:] if argv is None else argv))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in sys.modules:  # ours, or a part of a package that is there
            raise
        print(f"longthink train needs {error.name}: {INSTALL}", file=sys.stderr)
        return 2


def _main(arguments: list[str]) -> int:
    if arguments and arguments[0] in COMMANDS:
        status: int = import_module(f"training.{arguments[0]}").main(arguments[1:])
        return status
    options = parser().parse_args(arguments)
    if options.list:
        found = [options.recipe] if options.recipe else names("training.recipes")
        print("\n".join(map(_describe, found)))
        if options.recipe:
            print(_settings(options.recipe))
        return 0
    if options.recipe is None:
        parser().print_usage(sys.stderr)
        return 2
    recipe = import_module(f"training.recipes.{options.recipe}")
    try:
        config = settings(recipe, options.preset, options.config, options.set)
    except ValidationError as error:
        for problem in error.errors():
            print(f"--set {'.'.join(map(str, problem['loc']))}: {problem['msg']}", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"longthink train: {error}", file=sys.stderr)
        return 2
    try:
        print(f"wrote {recipe.train(config)}")
    except OtherRun as error:
        print(f"longthink train: {error}", file=sys.stderr)
        return 2
    return 0


def _describe(name: str) -> str:
    """A recipe in one line, with its presets."""
    recipe = import_module(f"training.recipes.{name}")
    presets = f" [{', '.join(recipe.PRESETS)}]" if hasattr(recipe, "PRESETS") else ""
    return f"{name}{presets}: {(recipe.__doc__ or '').splitlines()[0]}"


def _settings(name: str) -> str:
    """All settings of a recipe, its own first, with their defaults."""
    config = import_module(f"training.recipes.{name}").Config
    *_, shared = (kind.model_fields for kind in config.__mro__ if issubclass(kind, BaseModel) and kind.model_fields)
    fields = sorted(config.model_fields.items(), key=lambda field: field[0] in shared)
    defaults = config().model_dump(mode="json")
    lines = []
    for field, info in fields:
        text = " ".join((info.description or "").split())
        lines.append(f"  {field} = {json.dumps(defaults[field])}" + (f"\n      {text}" if text else ""))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
