"""The options that the benchmarks share. Rule: an option has one spelling and one meaning in all of them."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable
from typing import cast

from pydantic import JsonValue


def parser(command: str, about: str | None) -> argparse.ArgumentParser:
    """An empty parser for `longthink bench COMMAND`."""
    return argparse.ArgumentParser(
        prog=f"longthink bench {command}",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # reports quote the command line without its secrets, which must be known by name
    )


def add_endpoint(to: argparse.ArgumentParser) -> None:
    """Where to ask, which model, which key."""
    to.add_argument("--url", default="http://127.0.0.1:8000/v1", help="base URL (default: http://127.0.0.1:8000/v1)")
    to.add_argument("--model", default="longthink-tiny", help="default: longthink-tiny")
    to.add_argument(
        "--api-key", default=os.environ.get("OPENAI_API_KEY"), help="default: the environment's OPENAI_API_KEY"
    )


def add_options(to: argparse.ArgumentParser) -> None:
    """Options of the decoder."""
    to.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="an option of the decoder")


def value(text: str) -> JsonValue:
    """An option's value as it is typed: JSON where it is JSON (8, 0.5, true, null), else the text."""
    try:
        return cast("JsonValue", json.loads(text))
    except json.JSONDecodeError:
        return text


def pairs(texts: Iterable[str]) -> list[tuple[str, str]]:
    """`name=value` taken apart; `ValueError` for anything else."""
    split = [text.partition("=") for text in texts]
    if wrong := [text for text, sign, _ in split if not (text and sign)]:
        raise ValueError(f"expected NAME=VALUE, got {wrong[0]!r}")
    return [(name.strip(), rest) for name, _, rest in split]


def options(texts: Iterable[str]) -> dict[str, JsonValue]:
    """`name=value` pairs as options; `ValueError` if one comes twice."""
    split = pairs(texts)
    if len(dict(split)) < len(split):
        raise ValueError("an option is given twice")
    return {name: value(text) for name, text in split}
