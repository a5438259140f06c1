"""Between Gymnasium's spaces and JSON. Rule: what cannot be sent is left out or told in words, never an error."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

_LARGEST_ARRAY = 4096
_LARGE = ("screenshot", "dom_object", "axtree_object", "extra_element_properties", "goal_object", "chat_messages")
"""What of BrowserGym's observations is not sent: the accessibility tree goes as text."""


class Refused(Exception):
    """What a client asked for cannot be done; `code` is one of OpenEnv's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def schema_of(space: Any) -> dict[str, Any]:
    """The JSON Schema of an action: one field, whatever the space."""
    kind: dict[str, Any] = {"description": str(space)}
    if type(space).__name__ in ("Text", "Unicode"):
        kind["type"] = "string"
    elif type(space).__name__ == "Discrete":
        kind |= {"type": "integer", "minimum": int(space.start), "maximum": int(space.start + space.n - 1)}
    return {"title": "Action", "type": "object", "properties": {"action": kind}, "required": ["action"]}


def shaped(action: Any, space: Any) -> Any:
    """The action as its space wants it. Raises `Refused`."""
    try:
        if type(space).__name__ == "Discrete":
            action = int(action)
        elif isinstance(action, list):
            action = import_module("numpy").asarray(action, dtype=space.dtype)
        possible = space.contains(action)
    except (TypeError, ValueError):
        possible = False
    if not possible:
        raise Refused("VALIDATION_ERROR", f"not an action here: {space}")
    return action


def sendable(observation: Any) -> dict[str, Any]:
    """An observation as JSON, with its text where it is one or BrowserGym's."""
    if isinstance(observation, str):
        return {"text": observation}
    if not isinstance(observation, dict):
        return {"text": json.dumps(_plain(observation))}
    told = {str(key): _plain(value) for key, value in observation.items() if key not in _LARGE}
    if "axtree_object" in observation:
        told |= {"text": _browser_text(observation), "error": observation.get("last_action_error") or None}
    return told


def _browser_text(observation: dict[str, Any]) -> str:
    flatten = import_module("browsergym.utils.obs").flatten_axtree_to_str
    # newer Chromiums list each text once more under these roles; generic nodes are kept for those that can be clicked
    tree = flatten(observation["axtree_object"], ignored_roles=["LineBreak", "InlineTextBox"], skip_generic=False)
    return f"page {observation.get('url', '')}\n{tree}"


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(value, "tolist"):
        size = int(getattr(value, "size", 1))
        return value.tolist() if size <= _LARGEST_ARRAY else f"an array of {size} numbers"
    return str(value)
