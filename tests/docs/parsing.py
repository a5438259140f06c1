"""`longthink` and our other programs on a documented command line, up to the point where they would begin to work.

Rule: it is the program's own parser that judges, found by running the program; nothing is listed here twice.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from typing import Any

import pytest
from pydantic import ValidationError

from benchmarks import cli, tasks
from benchmarks.__main__ import COMMANDS as BENCHMARKS
from decoders import build
from decoders.core.errors import LongThinkError
from server.__main__ import _COMMANDS as PROGRAMS
from server.__main__ import main as longthink
from server.settings import load
from tests.docs import existing
from training.__main__ import COMMANDS as TRAINING
from training.configuration import settings as recipe_settings

BLANK = re.compile(r"<\w+>|…")
_UNFINISHED = ("expected one argument", "expected at least one argument")


class Refused(Exception):
    """The program would not have taken this command line."""


class _Parsed(BaseException):
    """What a program read before it began to work."""

    def __init__(self, parser: argparse.ArgumentParser, found: argparse.Namespace) -> None:
        self.parser, self.found = parser, found


@contextmanager
def _parsing_only(partial: bool) -> Iterator[None]:
    """Programs end with `_Parsed` where they have read their arguments, or `Refused` where they cannot."""
    parse_args, parse_known = argparse.ArgumentParser.parse_args, argparse.ArgumentParser.parse_known_args

    def known(parser: argparse.ArgumentParser, *given: Any, **named: Any) -> Any:
        for action in parser._actions if partial else ():
            action.required = False
        return parse_known(parser, *given, **named)

    def all_of_them(parser: argparse.ArgumentParser, *given: Any, **named: Any) -> Any:
        raise _Parsed(parser, parse_args(parser, *given, **named))

    with _refusing(partial), pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_known_args", known)
        patch.setattr(argparse.ArgumentParser, "parse_args", all_of_them)
        yield


@contextmanager
def _refusing(partial: bool) -> Iterator[None]:
    """Mistakes are `Refused`, but for a last option whose value a sentence leaves out."""

    def refuse(parser: argparse.ArgumentParser, message: str) -> None:
        if not (partial and message.endswith(_UNFINISHED)):
            raise Refused(message)
        raise _Parsed(parser, argparse.Namespace())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "error", refuse)
        yield


def check(words: Sequence[str], *, partial: bool = False) -> None:
    """Raises `Refused` unless `longthink WORDS` is a command with such options and values."""
    given = [BLANK.sub("1", word) for word in words if word not in ("-h", "--help", "--version")]
    if len(given) < len(words):
        partial = True
    match given:
        case []:
            return
        case [name, *_] if name in PROGRAMS and not installed(name):
            return
        case ["serve", *rest]:
            _check_serve(rest, partial)
        case ["bench", name, *_]:
            parsed = _parse(given, partial)
            _check_benchmark(import_module(f"benchmarks.{name.replace('-', '_')}"), parsed.found)
        case ["train", *_] if any(map(BLANK.search, words)):
            return
        case ["bench" | "train"] if partial:
            return
        case _:
            parsed = _parse(given, partial)
            if getattr(parsed.found, "recipe", None):
                _check_recipe(parsed.found)


def check_module(name: str, words: Sequence[str]) -> None:
    """Raises `Refused` unless `python -m NAME WORDS` is a module, and, if it is ours, one with such options."""
    try:
        spec = find_spec(name)
        spec = find_spec(f"{name}.__main__") if spec and spec.submodule_search_locations else spec
    except ModuleNotFoundError:
        spec = None
    ours = name.split(".")[0] in ("server", "decoders", "training", "benchmarks", "clients", "tests")
    if ours and spec is None:
        raise Refused(f"there is no module {name}")
    main = getattr(import_module(spec.name), "main", None) if spec and ours and not name.startswith("tests.") else None
    if main is not None:
        try:
            with _parsing_only(partial=False):
                main(list(words))
        except _Parsed:
            return


def _parse(words: list[str], partial: bool) -> _Parsed:
    """As `longthink` would; its own words where there is no such command."""
    said = StringIO()
    try:
        with _parsing_only(partial), redirect_stderr(said):
            longthink(words)
    except _Parsed as parsed:
        return parsed
    raise Refused((said.getvalue().splitlines() or ["parses nothing"])[0])


def _check_serve(words: list[str], partial: bool) -> None:
    """Settings are validated, and no more: files that they name are not opened."""
    if "--config" in words:
        at = words.index("--config")
        words = words[:at] + words[at + 2 :]
    try:
        with _refusing(partial):
            load(words, {})
    except ValueError as error:
        raise Refused(str(error)) from error
    except _Parsed:
        return


def _check_benchmark(module: Any, found: argparse.Namespace) -> None:
    """The decoders with their options, the task with its level."""
    try:
        if hasattr(found, "set") and hasattr(module, "settings"):
            for setting in module.settings(found) if getattr(found, "suite", True) else ():
                build(setting.decoder, setting.options)
        elif hasattr(found, "set"):
            named = getattr(found, "decoder", None) or "direct"
            for name in [named] if isinstance(named, str) else named:
                build(name, cli.options(found.set))
        if hasattr(found, "task") and ":" not in found.task and found.task not in tasks.names():
            raise Refused(f"there is no task {found.task}")
    except (ValueError, OSError, LongThinkError) as error:
        raise Refused(str(error)) from error


def _check_recipe(found: argparse.Namespace) -> None:
    """Its settings; of a file, which is the reader's, nothing is known."""
    recipe = import_module(f"training.recipes.{found.recipe}")
    try:
        recipe_settings(recipe, found.preset, None, found.set)
    except ValidationError as error:
        first = error.errors()[0]
        raise Refused(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except ValueError as error:
        raise Refused(str(error)) from error


def installed(name: str) -> bool:
    """Whether this command's package is there: a version may come without it."""
    try:
        return find_spec(PROGRAMS[name][0]) is not None
    except ModuleNotFoundError:
        return False


@cache
def flags() -> frozenset[str]:
    """The options of all commands, `--vllm.` left out, which takes vLLM's own."""
    found = set()
    for name, field in existing.settings().items():
        flag = name.replace("_", "-")
        found |= {f"--{flag}", f"--no-{flag}"} if field.annotation is bool else {f"--{flag}"}
    lines = [["bench", name] for name in BENCHMARKS] + [[name] for name in PROGRAMS if name not in ("serve", "bench")]
    for words in [*lines, *(["train", name] for name in TRAINING)]:
        if installed(words[0]):
            for parser in _nested(_parse(words, partial=True).parser):
                found |= parser._option_string_actions.keys()
    return frozenset(found)


def _nested(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _nested(below)
