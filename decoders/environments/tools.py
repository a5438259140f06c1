"""Actions that are calls of tools, offered and read. Rule: the form is OpenAI's, whoever runs them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

_ANYTHING = {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class Tool:
    """What can be called, and with what (a JSON Schema)."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: _ANYTHING)

    def without(self, parameter: str) -> Tool:
        """The same tool, one parameter hidden."""
        properties = {k: v for k, v in self.parameters.get("properties", {}).items() if k != parameter}
        required = [name for name in self.parameters.get("required", []) if name != parameter]
        return Tool(self.name, self.description, {**self.parameters, "properties": properties, "required": required})


@dataclass(frozen=True, slots=True)
class Call:
    """One call."""

    name: str
    arguments: dict[str, Any]


def offer(tools: Iterable[Tool]) -> str:
    """OpenAI's array of tools."""
    return orjson.dumps(
        [
            {
                "type": "function",
                "function": {"name": t.name, "description": t.description, "parameters": t.parameters},
            }
            for t in tools
        ]
    ).decode()


def read(action: str) -> Call:
    """The call that an action is: a JSON object of name and arguments, which may be JSON text themselves.

    Raises `ValueError` with a message for the agent.
    """
    given = _object(action, "an action is a JSON object with a name and arguments")
    name, arguments = given.get("name"), given.get("arguments", {})
    if not isinstance(name, str):
        raise ValueError("an action is a JSON object with a name and arguments: the name is missing")
    if isinstance(arguments, str):
        arguments = _object(arguments or "{}", "the arguments are not a JSON object")
    if not isinstance(arguments, dict):
        raise ValueError("the arguments are not a JSON object")
    return Call(name, arguments)


def _object(text: str, complaint: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{complaint}: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(complaint)
    return value
