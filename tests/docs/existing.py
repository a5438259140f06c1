"""What there is: routes, metrics, variables, files. Rule: read from the code that makes it, once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from decoders.core.task import Model
from decoders.prompts import Pack
from server.app import create_app
from server.engines.scripted import ScriptedEngine
from server.metrics import Metrics
from server.settings import PREFIX, Settings
from tests.docs.markdown import ROOT

PACKAGES = ("server", "decoders", "training", "benchmarks", "clients")
FOLDERS = (*PACKAGES, "tests", "docs", "docker")


@cache
def routes() -> dict[str, set[str]]:
    """The methods of each path, with `{}` for what is filled in."""
    served = {"m": Model(ScriptedEngine("m"), Pack.load("plain"))}
    app = create_app(Settings(engine="scripted", admin_key="sixteen letters!"), served)
    paths = {**app.openapi()["paths"], "/openapi.json": {"get": {}}}
    return {blanked(path): {method.upper() for method in methods} for path, methods in paths.items()}


def blanked(path: str) -> str:
    """A path without its query and the names of what is filled in."""
    return re.sub(r"\{[^}]*\}|<[^>]*>", "{}", path.split("?")[0])


@cache
def metrics() -> dict[str, tuple[str, str, tuple[str, ...]]]:
    """Kind, help and labels of each of our metrics, by its name as Prometheus shows it, without the prefix."""
    found = {}
    registry = Metrics("1").registry
    for collector in registry._collector_to_names:
        labels = tuple(getattr(collector, "_labelnames", ()))
        for family in collector.collect():
            name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
            own = labels or tuple(getattr(family, "_labelnames", ()))
            if name.startswith("longthink:"):
                found[name.removeprefix("longthink:")] = (family.type, family.documentation, own)
    return found


@cache
def settings() -> dict[str, FieldInfo]:
    """Every setting of `longthink serve`, those of a group as `group.name`, the group itself too."""
    return dict(_fields(Settings))


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}", field
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields(field.annotation, f"{prefix}{name}.")


@cache
def variables() -> set[str]:
    """Environment variables of ours: those of settings, and those that the code names."""
    named = {name for text in _sources() for name in re.findall(rf"\b{PREFIX}[A-Z_]+", text)}
    return named | {f"{PREFIX}{name.upper().replace('.', '__')}" for name in settings()}


def _sources() -> Iterator[str]:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            yield path.read_text(encoding="utf-8")


@cache
def targets() -> set[str]:
    """What `make` can be asked for."""
    return set(re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@cache
def extras() -> set[str]:
    """What may stand in `longthink[…]`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return set(project["optional-dependencies"])


@cache
def made_by_readers() -> tuple[str, ...]:
    """What begins like these is made by whoever follows the page: git does not keep it."""
    return tuple((ROOT / ".gitignore").read_text(encoding="utf-8").split())
