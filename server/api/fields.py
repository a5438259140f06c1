"""The fields of a chat request whose values come in several forms, each brought into one.

Rule: what cannot be honoured is refused by name. `UNSUPPORTED` lists the fields of OpenAI's API that are understood
only at a value that asks for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from decoders.core.errors import InvalidRequest

UNSUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "audio": (None,),
    "function_call": (None, "none", "auto"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "modalities": (None, ["text"]),
    "moderation": (None,),
    "prediction": (None,),
    "repetition_penalty": (None, 1),
    "response_format": (None, {"type": "text"}),
    "store": (None, False),
    "tool_choice": (None, "none", "auto"),
    "tools": (None, []),
    "web_search_options": (None,),
}
"""Field → values that ask for nothing and are therefore accepted."""


def refuse_unsupported(body: dict[str, Any]) -> None:
    """Take the fields that ask for nothing out of a request's body; raises `InvalidRequest` for those that ask."""
    for name in body.keys() & UNSUPPORTED.keys():
        value = body.pop(name)
        harmless = UNSUPPORTED[name]
        if not any(value == v and isinstance(value, bool) == isinstance(v, bool) for v in harmless):
            raise InvalidRequest(f"{name} is not supported by this server", param=name, code="unsupported_parameter")


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


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise PydanticCustomError("content", "content is a string or an array of text parts")
    texts = []
    for place, part in enumerate(value):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text":
            raise PydanticCustomError(
                "content",
                "part {place} is of type {kind}: only text is supported",
                {"place": place, "kind": repr(kind)[:40]},
            )
        if not isinstance(part.get("text"), str):
            raise PydanticCustomError("content", "part {place} has no text", {"place": place})
        texts.append(part["text"])
    return "".join(texts)


def _stop(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(texts, list) or not all(isinstance(t, str) and t for t in texts):
        raise PydanticCustomError("stop", "stop is a string or an array of strings, none of them empty")
    if len(texts) > 4:
        raise PydanticCustomError("stop", "at most 4 stop strings are supported")
    return tuple(texts)


def _nothing(value: Any) -> None:
    if value not in (None, [], {}):
        raise PydanticCustomError("unsupported", "not supported by this server")


def _options_schema() -> dict[str, Any]:
    named = {"type": "object", "properties": {"name": {"type": "string"}}, "additionalProperties": True}
    return {"anyOf": [{"type": "string"}, named, {"type": "null"}]}


_STRINGS = {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": 4}
_PART = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "required": ["type", "text"],
}

DecoderField = Annotated[
    DecoderChoice,
    BeforeValidator(lambda v: DecoderChoice() if v is None else _decoder(v)),
    WithJsonSchema(_options_schema()),
]
TextField = Annotated[
    str | None,
    BeforeValidator(_text),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": _PART}, {"type": "null"}]}),
]
StopField = Annotated[
    tuple[str, ...],
    BeforeValidator(_stop),
    WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, _STRINGS, {"type": "null"}]}),
]
NothingField = Annotated[None, BeforeValidator(_nothing), WithJsonSchema({"type": "null"})]
Role = Literal["system", "developer", "user", "assistant"]
