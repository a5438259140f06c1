"""Whether an answer has the form that the caller asked for, OpenAI's `response_format`.

Engines that constrain what they generate keep it by themselves; the check holds for those that cannot as well.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import jsonschema
import jsonschema.validators

from decoders.core.errors import InvalidRequest


def matches(structure: str, answer: str) -> bool:
    """Whether `answer` is JSON of the form `structure`, which `check` has accepted; an empty one takes anything."""
    if not structure:
        return True
    try:
        value = json.loads(answer)
    except ValueError:
        return False
    validator = _validator(structure)
    return isinstance(value, dict) if validator is None else bool(validator.is_valid(value))


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
    except (jsonschema.SchemaError, KeyError, TypeError, ValueError, RecursionError) as error:
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
    schema = form["json_schema"].get("schema", {})
    cls = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    cls.check_schema(schema)
    return cls(schema)
