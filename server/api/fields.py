"""The fields of a chat request whose values come in several forms, each brought into one.

Rule: what cannot be honoured is refused by name. `UNSUPPORTED` lists the fields of OpenAI's API that are understood
only at a value that asks for nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from decoders.core.errors import InvalidRequest
from server.environments import EnvironmentChoice

UNSUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "audio": (None,),
    "function_call": (None, "none", "auto"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "modalities": (None, ["text"]),
    "moderation": (None,),
    "prediction": (None,),
    "repetition_penalty": (None, 1),
    "store": (None, False),
    "web_search_options": (None,),
}
"""Field → values that ask for nothing and are therefore accepted."""


def refuse_unsupported(body: dict[str, Any], unsupported: Mapping[str, tuple[Any, ...]] = UNSUPPORTED) -> None:
    """Take the fields that ask for nothing out of a request's body; raises `InvalidRequest` for those that ask."""
    for name in body.keys() & unsupported.keys():
        value = body.pop(name)
        harmless = unsupported[name]
        if not any(value == v and isinstance(value, bool) == isinstance(v, bool) for v in harmless):
            raise InvalidRequest(f"{name} is not supported by this server", param=name, code="unsupported_parameter")


Items: Any = Field(fail_fast=True)
"""For arrays: the first wrong item is enough to refuse them, and a million wrong ones would cost seconds."""


class Wire(BaseModel):
    """What all objects of a request have in common: a misspelt field is refused, and no value is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True, frozen=True)


@dataclass(frozen=True, slots=True)
class DecoderChoice:
    """A decoder by name, with options."""

    name: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def _decoder(value: Any) -> DecoderChoice:
    if isinstance(value, str) and value:
        return DecoderChoice(value)
    if isinstance(value, dict):
        name = value.get("name")
        if name is None or (isinstance(name, str) and name):
            return DecoderChoice(name, {k: v for k, v in value.items() if k != "name"})
        raise PydanticCustomError("decoder", "decoder.name is a string")
    raise PydanticCustomError("decoder", "a decoder is a name or an object with a name and options")


def _environment(value: Any) -> EnvironmentChoice | None:
    if value is None:
        return None
    given = {"name": value} if isinstance(value, str) else value
    if not isinstance(given, dict) or not isinstance(given.get("name"), str) or not given["name"]:
        raise PydanticCustomError("environment", "an environment is a name or an object with a name and reset")
    reset = given.get("reset")
    if set(given) - {"name", "reset"} or not isinstance(reset, dict | None):
        raise PydanticCustomError("environment", "an environment has a name and reset, which is an object")
    return EnvironmentChoice(given["name"], reset or {})


def _stop(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(texts, list) or not all(isinstance(t, str) and t for t in texts):
        raise PydanticCustomError("stop", "stop is a string or an array of strings, none of them empty")
    if len(texts) > 4:
        raise PydanticCustomError("stop", "at most 4 stop strings are supported")
    return tuple(texts)


def _structure(value: Any) -> str:
    if value is None or value == {"type": "text"}:
        return ""
    if not isinstance(value, dict):
        raise PydanticCustomError("response_format", "response_format is an object with a type")
    return json.dumps(value, ensure_ascii=False)


def _nothing(value: Any) -> None:
    if value not in (None, [], {}):
        raise PydanticCustomError("unsupported", "not supported by this server")


def _options_schema() -> dict[str, Any]:
    named = {"type": "object", "properties": {"name": {"type": "string"}}, "additionalProperties": True}
    return {"anyOf": [{"type": "string"}, named, {"type": "null"}]}


_ENVIRONMENT = {
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 1}, "reset": {"type": "object"}},
    "required": ["name"],
    "additionalProperties": False,
}
_STRINGS = {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": 4}
_FORMATS = [
    {"type": "object", "properties": {"type": {"enum": ["text", "json_object"]}}, "required": ["type"]},
    {
        "type": "object",
        "properties": {
            "type": {"const": "json_schema"},
            "json_schema": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "schema": {"type": "object"}, "strict": {"type": "boolean"}},
                "required": ["name"],
            },
        },
        "required": ["type", "json_schema"],
    },
]

DecoderField = Annotated[
    DecoderChoice,
    BeforeValidator(lambda v: DecoderChoice() if v is None else _decoder(v)),
    WithJsonSchema(_options_schema()),
]
EnvironmentField = Annotated[
    EnvironmentChoice | None,
    BeforeValidator(_environment),
    WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, _ENVIRONMENT, {"type": "null"}]}),
]
StopField = Annotated[
    tuple[str, ...],
    BeforeValidator(_stop),
    WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, _STRINGS, {"type": "null"}]}),
]
StructureField = Annotated[
    str,
    BeforeValidator(_structure),
    WithJsonSchema({"anyOf": [*_FORMATS, {"type": "null"}]}),
]
NothingField = Annotated[None, BeforeValidator(_nothing), WithJsonSchema({"type": "null"})]
