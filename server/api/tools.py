"""The tools of a chat request. Rule: what comes out names only tools that were offered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool, WithJsonSchema
from pydantic_core import PydanticCustomError

from decoders.core.errors import InvalidRequest
from decoders.core.structure import check_tools
from server.api.fields import Wire

NAME = "^[a-zA-Z0-9_-]{1,64}$"


class FunctionIn(Wire):
    """A function that the model may call."""

    name: str = Field(pattern=NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    """A JSON Schema."""
    strict: StrictBool | None = None
    """Whether arguments must be valid under the parameters."""


class ToolIn(Wire):
    """A tool that the model may use."""

    type: Literal["function"]
    function: FunctionIn


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether a tool must be used, and which."""

    mode: str = "auto"
    name: str | None = None


def _choice(value: Any) -> ToolChoice:
    if value is None or value in ("auto", "none", "required"):
        return ToolChoice(value or "auto")
    named = value.get("function") if isinstance(value, dict) and value.get("type") == "function" else None
    if isinstance(named, dict) and isinstance(named.get("name"), str) and len(value) == 2 and len(named) == 1:
        return ToolChoice("function", named["name"])
    raise PydanticCustomError("tool_choice", 'tool_choice is "auto", "none", "required" or an object naming a function')


_NAMED = {
    "type": "object",
    "properties": {
        "type": {"const": "function"},
        "function": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    },
    "required": ["type", "function"],
}
ToolChoiceField = Annotated[
    ToolChoice,
    BeforeValidator(_choice),
    WithJsonSchema({"anyOf": [{"enum": ["auto", "none", "required"]}, _NAMED, {"type": "null"}]}),
]


def offered(tools: Sequence[ToolIn], choice: ToolChoice) -> tuple[str, str]:
    """`tools` and `tool_choice` of a `Prompt`. Raises `InvalidRequest` where they contradict each other."""
    names = [tool.function.name for tool in tools]
    twice = next((place for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise InvalidRequest(f"two tools are called {names[twice]}", param=f"tools[{twice}].function.name")
    if choice.mode == "required" and not tools:
        raise InvalidRequest("tool_choice is required, but there are no tools", param="tool_choice")
    if choice.name is not None and choice.name not in names:
        raise InvalidRequest(f"tool_choice names {choice.name!r}, which is not among the tools", param="tool_choice")
    if not tools or choice.mode == "none":
        return "", ""
    shown = json.dumps([tool.model_dump(exclude_unset=True) for tool in tools], ensure_ascii=False)
    check_tools(shown)
    if choice.name is not None:
        return shown, json.dumps({"type": "function", "function": {"name": choice.name}})
    return shown, "" if choice.mode == "auto" else json.dumps(choice.mode)
