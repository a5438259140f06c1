"""The items of /v1/responses: read, given ids, and turned into the decoders' messages.

Rule: an item is kept in the one form that is read again later, whether it came in a request or was an answer before.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from decoders.core.errors import InvalidRequest
from decoders.core.messages import Message, Role, ToolCall
from server.api.turns import Turn, content, only, parts, string, typed, unknown

Item = Mapping[str, Any]
_ROLES: Mapping[str, Role] = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "mcp_list_tools": "mcpl",
    "mcp_call": "mcp",
}
_COMMON = ("id", "status", "phase")
"""Fields that every item may carry and that say nothing about the conversation."""


def items(value: str | list[Any]) -> list[Item]:
    """The items of a request's input, complete and with ids. Raises `InvalidRequest` naming what cannot be."""
    if isinstance(value, str):
        value = [{"role": "user", "content": value}]
    return [_complete(item, f"input[{place}]") for place, item in enumerate(value)]


def turns(found: Iterable[Item], name: str = "input") -> list[Turn]:
    """The messages that items stand for: calls belong to the assistant's turn before them."""
    told: list[Turn] = []
    for place, item in enumerate(found):
        where, last = f"{name}[{place}]", told[-1] if told else None
        if item["type"] == "function_call":
            call = ToolCall(item["call_id"], item["name"], item["arguments"])
            if last is not None and last.message.role == "assistant":
                calls = (*last.message.tool_calls, call)
                told[-1] = dataclasses.replace(last, message=dataclasses.replace(last.message, tool_calls=calls))
            else:
                told.append(Turn(where, Message("assistant", tool_calls=(call,))))
        elif item["type"] == "function_call_output":
            said = content(item["output"], f"{where}.output", _part)
            told.append(Turn(where, Message("tool", said.text, said.attachments, tool_call_id=item["call_id"])))
        elif item["type"] == "message":
            said = content(item["content"], f"{where}.content", _part)
            role = _ROLES[item["role"]]
            if said.attachments and role != "user":
                raise InvalidRequest(f"{where}: only text can be the {role}'s", param=f"{where}.content")
            told.append(Turn(where, Message(role, said.text, said.attachments)))
    return told


def new_id(kind: str, place: str = "") -> str:
    """An id for an item of this kind: the same for the same `place`, a new one without."""
    prefix = _PREFIXES[kind]
    return f"{prefix}_{(uuid.uuid5(uuid.NAMESPACE_OID, place) if place else uuid.uuid4()).hex}"


def _complete(item: Any, where: str) -> Item:
    if isinstance(item, dict) and "role" in item:
        item = {"type": "message", **item}
    kind = typed(item, where)["type"]
    if kind not in _COMPLETE:
        raise unknown(item, where)
    given = item.get("id")
    if given is not None:
        string(item, "id", where, empty=False)
    return {"id": given or new_id(kind), "type": kind, **_COMPLETE[kind](item, where)}


def _message(item: Item, where: str) -> Item:
    only(item, where, *_COMMON, "role", "content")
    role, said = string(item, "role", where), item.get("content")
    if role not in _ROLES:
        raise InvalidRequest(f"{where}.role is one of {', '.join(_ROLES)}", param=f"{where}.role")
    text = {"type": "output_text", "annotations": []} if role == "assistant" else {"type": "input_text"}
    if isinstance(said, str):
        shown: list[Item] = [{**text, "text": said}]
    else:
        shown = [_as_sent(part, text, at) for at, part in parts(said, f"{where}.content")]
    return {"role": role, "status": "completed", "content": shown}


def _as_sent(part: Item, text: Item, where: str) -> Item:
    found = _part(part, where)
    return {**text, "text": found} if isinstance(found, str) else {"detail": "auto", **part}


def _function_call(item: Item, where: str) -> Item:
    only(item, where, *_COMMON, "call_id", "name", "arguments")
    named = {name: string(item, name, where, empty=False) for name in ("call_id", "name")}
    return {**named, "arguments": string(item, "arguments", where), "status": "completed"}


def _function_call_output(item: Item, where: str) -> Item:
    only(item, where, *_COMMON, "call_id", "output")
    content(item.get("output"), f"{where}.output", _part)
    return {"call_id": string(item, "call_id", where, empty=False), "output": item["output"], "status": "completed"}


def _reasoning(item: Item, where: str) -> Item:
    """Accepted and not used: what a model thought before is not shown to it again."""
    only(item, where, *_COMMON, "summary", "content", "encrypted_content")
    return {"summary": [], "status": "completed"}


def _mcp(item: Item, where: str) -> Item:
    """Accepted and not used, like reasoning: what came of it is in the answer."""
    return {name: value for name, value in item.items() if name not in ("id", "type")}


_COMPLETE = {
    "message": _message,
    "function_call": _function_call,
    "function_call_output": _function_call_output,
    "reasoning": _reasoning,
    "mcp_list_tools": _mcp,
    "mcp_call": _mcp,
}


def _part(part: Item, where: str) -> str | Item:
    """A content part as text, or as chat's content part."""
    match part["type"]:
        case "input_text":
            only(part, where, "text", "prompt_cache_breakpoint")
            return string(part, "text", where)
        case "output_text":
            only(part, where, "text", "annotations", "logprobs")
            return string(part, "text", where)
        case "refusal":
            return string(part, "refusal", where)
        case "input_image":
            only(part, where, "image_url", "detail", "prompt_cache_breakpoint")
            image: dict[str, Any] = {"url": string(part, "image_url", where, empty=False)}
            if part.get("detail") is not None:
                image["detail"] = string(part, "detail", where)
            return {"type": "image_url", "image_url": image}
    raise unknown(part, where)
