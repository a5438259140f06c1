"""Decoders: strategies that turn a token budget into a better answer. This folder is the registry."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from decoders.base import Decoder
from decoders.core.errors import InvalidRequest, UnknownDecoder
from decoders.prompts import Pack

DEPTH = 4
"""Decoders inside each other at most: each level multiplies what the one below it does."""

__all__ = ["Decoder", "build", "registry"]


@cache
def registry() -> Mapping[str, type[Decoder]]:
    """Every decoder by name: the `Decoder` subclasses of the modules in this folder."""
    for module in pkgutil.iter_modules(__path__):
        if not module.ispkg:
            import_module(f"{__name__}.{module.name}")
    return {cls.name: cls for cls in sorted(_named(Decoder), key=lambda cls: cls.name)}


def _filled(name: str, options: Mapping[str, Any], pack: Pack | None) -> dict[str, Any]:
    """The options over the pack's defaults, those of an inner decoder too."""
    filled = {**(pack.options(name) if pack else {}), **options}
    inner = filled.get("inner")
    given = {"name": inner} if isinstance(inner, str) else inner
    if isinstance(given, Mapping) and isinstance(given.get("name"), str):
        filled["inner"] = _filled(given["name"], given, pack)
    return filled


def _named(base: type[Any]) -> list[type[Decoder]]:
    """The subclasses at any depth that are strategies, which is to say have a name."""
    below = [cls for child in base.__subclasses__() for cls in [child, *_named(child)]]
    return [cls for cls in dict.fromkeys(below) if "name" in vars(cls)]


def build(name: str, options: Mapping[str, Any], pack: Pack | None = None) -> Decoder:
    """A decoder from a request: `options` over the defaults of the model's template pack over the paper's.

    Raises `UnknownDecoder`, or `InvalidRequest` whose `param` names the option.
    """
    if name not in registry():
        raise UnknownDecoder(f"unknown decoder {name!r}: there are {', '.join(registry())}", param="decoder")
    cls = registry()[name]
    try:
        made = cls.model_validate(_filled(name, options, pack), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(map(str, first["loc"]))
        known = ", ".join(cls.model_fields)
        hint = f"; {name} has the options {known}" if first["type"] == "extra_forbidden" else ""
        raise InvalidRequest(f"decoder.{option}: {first['msg']}{hint}", param=f"decoder.{option}") from error
    if len(made.nested()) > DEPTH:
        raise InvalidRequest(f"more than {DEPTH} decoders inside each other", param="decoder.inner")
    return made
