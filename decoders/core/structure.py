"""Whether a reply has the form that the caller asked for: OpenAI's `response_format`, and `strict` in a tool.

Engines that constrain what they generate keep it by themselves; the check holds for those that cannot as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import jsonschema_rs

from decoders.core.errors import InvalidRequest

_LARGEST = 10_000
_PATTERN = 200
"""Parts of a schema that a regular expression counts as: the dearest take 30 ms to compile."""


def matches(structure: str, answer: str) -> bool:
    """Whether `answer` is JSON of the form `structure`, which `check` has accepted; an empty one takes anything."""
    if not structure:
        return True
    return _is_valid(_validator(structure), answer)


def keeps(tools: str, name: str, arguments: str) -> bool:
    """Whether a call of the tool `name` keeps to its parameters, where `tools` says that it must."""
    validator = _strict(tools).get(name) if tools else None
    return validator is None or _is_valid(validator, arguments)


def schema(structure: str) -> str:
    """The JSON Schema of the form, as JSON."""
    form = json.loads(structure)
    wanted = form["json_schema"].get("schema", {}) if form["type"] == "json_schema" else {"type": "object"}
    return json.dumps(wanted, ensure_ascii=False)


def canonical(answer: str) -> str:
    """JSON in one spelling, so that equal values are equal texts; what is not JSON as it is."""
    try:
        return json.dumps(json.loads(answer), sort_keys=True)
    except ValueError:
        return answer


def check(structure: str, param: str = "response_format") -> None:
    """Raises `InvalidRequest` for a response format that is not one of OpenAI's or whose schema is wrong."""
    with _refused(param):
        _validator(structure)


def check_tools(tools: str) -> None:
    """Raises `InvalidRequest` for a strict tool whose schema is wrong."""
    with _refused("tools"):
        _strict(tools)


@contextmanager
def _refused(param: str) -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        raise InvalidRequest(f"{param}: {error} is missing", param=param) from error
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        reason = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
        raise InvalidRequest(f"{param}: {reason}"[:500], param=param) from error


def _is_valid(validator: Any, text: str) -> bool:
    try:
        return bool(validator.is_valid(json.loads(text)))
    except (ValueError, RecursionError):
        return False


@lru_cache(maxsize=64)
def _validator(structure: str) -> Any:
    form = json.loads(structure)
    kind = form["type"]
    if kind not in ("json_object", "json_schema"):
        raise ValueError(f"the type {kind!r} is not json_schema, json_object or text")
    if kind == "json_object":
        _only(form, "type")
        return _of({"type": "object"})
    _only(form, "type", "json_schema")
    _only(form["json_schema"], "name", "description", "schema", "strict")
    return _of(form["json_schema"].get("schema", {}))


@lru_cache(maxsize=64)
def _strict(tools: str) -> Mapping[str, Any]:
    """A validator for each strict function of OpenAI's array of tools."""
    functions = [tool["function"] for tool in json.loads(tools)]
    return {f["name"]: _of(f.get("parameters") or {}) for f in functions if f.get("strict")}


def _only(given: Mapping[str, Any], *names: str) -> None:
    if unknown := sorted(given.keys() - set(names)):
        raise ValueError(f"{unknown[0]!r} is unknown")


def _of(wanted: Any) -> Any:
    """A validator whose time the caller's schema cannot blow up: patterns run in linear time, references are few."""
    _bounded(wanted)
    return jsonschema_rs.validator_for(wanted, pattern_options=jsonschema_rs.RegexOptions(), retriever=_refuse)


def _refuse(reference: str) -> Any:
    raise ValueError(f"the reference {reference!r} leads out of the schema")


def _bounded(wanted: Any) -> None:
    """Raises `ValueError` for a schema whose references multiply: written out it may have `_LARGEST` nodes."""
    sizes: dict[str, int] = {}

    def size(node: Any) -> int:
        total = 1
        for name, value in (
            node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        ):
            total += _referred(value) if name in ("$ref", "$dynamicRef") else size(value)
            total += _PATTERN * (1 if name == "pattern" else len(value) if name == "patternProperties" else 0)
        return min(total, _LARGEST + 1)

    def _referred(reference: Any) -> int:
        if reference not in sizes:
            sizes[str(reference)] = 1  # a schema that refers to itself goes only as deep as the answer
            sizes[str(reference)] = size(_target(wanted, str(reference)))
        return sizes[str(reference)]

    if size(wanted) > _LARGEST:
        counted = f"once its references are followed, with each pattern as {_PATTERN}"
        raise ValueError(f"the schema has more than {_LARGEST:,} parts {counted}")


def _target(wanted: Any, reference: str) -> Any:
    """What a pointer within the schema leads to, nothing for other references: the validator judges those."""
    node = wanted
    for step in reference.removeprefix("#").split("/")[1:] if reference.startswith("#/") else ():
        step = unquote(step).replace("~1", "/").replace("~0", "~")
        node = node.get(step) if isinstance(node, dict) else None
    return node if reference.startswith("#/") else None
