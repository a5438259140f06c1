"""`longthink train <recipe>`: the modules of `training/recipes/` are the recipes, each with a `Config` and `train`."""

from __future__ import annotations

import argparse
import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module

from pydantic import ValidationError


def recipes() -> list[str]:
    """Names of all recipes: the folder is the registry."""
    return sorted(module.name for module in pkgutil.iter_modules(import_module("training.recipes").__path__))


def main(argv: Sequence[str] | None = None) -> int:
    """Train one recipe and return the exit status: 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="longthink train", description="Train a checkpoint for the decoders.")
    parser.add_argument("recipe", nargs="?", choices=recipes(), help="what to train")
    parser.add_argument("--list", action="store_true", help="print every recipe with its settings and defaults")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting")
    arguments = parser.parse_args(argv)
    if arguments.list:
        print("\n\n".join(_describe(name) for name in recipes()))
        return 0
    if arguments.recipe is None:
        parser.print_usage(sys.stderr)
        return 2
    recipe = import_module(f"training.recipes.{arguments.recipe}")
    split = [pair.partition("=") for pair in arguments.set]
    try:
        config = recipe.Config.model_validate_strings({name: value for name, _, value in split})
    except ValidationError as error:
        for problem in error.errors():
            print(f"--set {'.'.join(map(str, problem['loc']))}: {problem['msg']}", file=sys.stderr)
        return 2
    print(f"wrote {recipe.train(config)}")
    return 0


def _describe(name: str) -> str:
    recipe = import_module(f"training.recipes.{name}")
    fields = recipe.Config.model_fields.items()
    settings = [f"  {field:<14} {info.default!s:<22} {info.description}" for field, info in fields]
    return "\n".join([f"{name}: {(recipe.__doc__ or '').splitlines()[0]}", *settings])


if __name__ == "__main__":
    sys.exit(main())
