"""What the user chooses: a decoder with options and a budget, from words as they are typed.

Rule: what is wrong is said before anything is asked, by the name of what is wrong.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from clients.request import Budget, Effort


class Mistyped(ValueError):
    """What the user has typed means nothing."""


def option(word: str) -> tuple[str, Any]:
    """`turns=8` as a name and a value: JSON where it is JSON, else text. Raises `Mistyped`."""
    name, sign, text = word.partition("=")
    if not (name and sign):
        raise Mistyped(f"{word!r} is no option: write name=value, such as turns=8")
    try:
        return name, json.loads(text)
    except ValueError:
        return name, text


def decoder(words: Sequence[str], known: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A decoder's name and options. Raises `Mistyped` for what is not among the `known`."""
    name, options = words[0], dict(map(option, words[1:]))
    schemas = {entry["id"]: entry["options"]["properties"] for entry in known}
    if schemas:
        _known("decoder", [name], schemas)
        _known(f"option of {name}", options, schemas[name])
    return {"name": name, **options}


def budget(word: str) -> Budget:
    """`4000`, `4k`, or an effort such as `high`. Raises `Mistyped`."""
    efforts: Sequence[Effort] = get_args(Effort)
    for effort in efforts:
        if word == effort:
            return effort
    thousands = word.lower().endswith("k")
    digits = (word[:-1] if thousands else word).replace("_", "").replace(",", "")
    if not (digits.isascii() and digits.isdecimal()) or int(digits) < 1:
        raise Mistyped(f"{word!r} is no budget: a number of tokens such as 4000 or 4k, or {', '.join(efforts)}")
    return int(digits) * (1000 if thousands else 1)


def told(chosen: Mapping[str, Any] | None) -> str:
    """A decoder as it would be typed."""
    if chosen is None:
        return "the server's default"
    options = [f"{name}={_text(value)}" for name, value in chosen.items() if name != "name"]
    return " ".join([str(chosen["name"]), *options])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _known(what: str, names: Iterable[str], there: Mapping[str, Any]) -> None:
    for name in names:
        if name not in there:
            near = difflib.get_close_matches(name, there, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(there)}"
            raise Mistyped(f"there is no {what} {name!r}: {hint}")
