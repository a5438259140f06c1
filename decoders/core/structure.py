"""Whether an answer has the form that the caller asked for, OpenAI's `response_format`.

Engines that constrain what they generate keep it by themselves; the check holds for those that cannot as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import jsonschema
import jsonschema.validators
import referencing
import referencing.exceptions
import referencing.jsonschema

from decoders.core.errors import InvalidRequest


def matches(structure: str, answer: str) -> bool:
    """Whether `answer` is JSON of the form `structure`, which `check` has accepted; an empty one takes anything."""
    if not structure:
        return True
    validator = _validator(structure)
    try:
        value = json.loads(answer)
        return isinstance(value, dict) if validator is None else bool(validator.is_valid(value))
    except (ValueError, RecursionError, referencing.exceptions.Unresolvable):
        return False


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


def check(structure: str) -> None:
    """Raises `InvalidRequest` for a response format that is not one of OpenAI's or whose schema is wrong."""
    try:
        _validator(structure)
    except KeyError as error:
        raise InvalidRequest(f"response_format: {error} is missing", param="response_format") from error
    except (jsonschema.SchemaError, AttributeError, TypeError, ValueError, RecursionError) as error:
        reason = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
        raise InvalidRequest(f"response_format: {reason}"[:500], param="response_format") from error


@lru_cache(maxsize=256)
def _validator(structure: str) -> Any:
    form = json.loads(structure)
    kind = form["type"]
    if kind == "json_object":
        return None
    if kind != "json_schema":
        raise ValueError(f"the type {kind!r} is not json_schema, json_object or text")
    wanted = form["json_schema"].get("schema", {})
    cls = jsonschema.validators.validator_for(wanted, default=jsonschema.Draft202012Validator)
    cls.check_schema(wanted)
    # without a registry of its own the validator would fetch references from anywhere on the net
    registry = referencing.Registry().with_resource("", referencing.jsonschema.DRAFT202012.create_resource(wanted))
    for reference in _references(wanted):
        try:
            registry.resolver().lookup(reference)
        except referencing.exceptions.Unresolvable as error:
            raise ValueError(f"the reference {reference!r} leads nowhere in the schema") from error
    return cls(wanted, registry=registry)


def _references(node: Any) -> Iterator[str]:
    """Every `$ref` of a schema."""
    for name, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        if name == "$ref" and isinstance(value, str):
            yield value
        yield from _references(value)
