"""Conversations of other dialects than chat, in the decoders' terms. Rule: a turn keeps the name of where it came from.

Chat's content parts are the common form for what is not text: engines know those.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from decoders.core.errors import InvalidRequest
from decoders.core.messages import Attachment, Message
from server.api.messages import Content


@dataclass(frozen=True, slots=True)
class Turn:
    """A message and the field that it stands in."""

    where: str
    message: Message


def conversation(turns: Iterable[Turn], param: str) -> tuple[Message, ...]:
    """The messages. Raises `InvalidRequest` where a result belongs to no call, or where there is nothing to answer."""
    messages: list[Message] = []
    calls: set[str] = set()
    for turn in turns:
        message = turn.message
        if message.tool_call_id is not None and message.tool_call_id not in calls:
            raise InvalidRequest(f"{turn.where}: no earlier call has this id", param=turn.where)
        calls |= {call.id for call in message.tool_calls}
        messages.append(message)
    if not any(message.role == "user" for message in messages):
        raise InvalidRequest("nothing is the user's: there is no question", param=param)
    if messages[-1].role not in ("user", "tool"):
        raise InvalidRequest("the last turn must be the user's or a tool's", param=param)
    return tuple(messages)


Reader = Callable[[Mapping[str, Any], str], "str | Mapping[str, Any]"]
"""From one part and its place to its text, or to chat's content part."""


def content(value: Any, where: str, read: Reader) -> Content:
    """What a text or an array of parts says. Raises `InvalidRequest` naming the part."""
    return Content(value) if isinstance(value, str) else gathered(parts(value, where), read)


def parts(value: Any, where: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The objects of an array, each with its place; each says of which type it is."""
    if not isinstance(value, list):
        raise InvalidRequest(f"{where} is a string or an array of parts", param=where)
    return [(f"{where}[{place}]", typed(part, f"{where}[{place}]")) for place, part in enumerate(value)]


def gathered(found: Iterable[tuple[str, Mapping[str, Any]]], read: Reader) -> Content:
    """What parts say together."""
    text, attachments = "", []
    for where, part in found:
        said = read(part, where)
        if isinstance(said, str):
            text += said
        else:
            attachments.append(Attachment(json.dumps(said, ensure_ascii=False), len(text)))
    return Content(text, tuple(attachments))


def typed(part: Any, where: str) -> Mapping[str, Any]:
    """An object that says of which type it is."""
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise InvalidRequest(f"{where} is an object with a type", param=where)
    return part


def string(part: Mapping[str, Any], name: str, where: str, *, empty: bool = True) -> str:
    """A field of a part that must be text."""
    value = part.get(name)
    if not isinstance(value, str) or not (value or empty):
        code = "missing_required_parameter" if value is None else None
        raise InvalidRequest(f"{where}.{name} is a string", param=f"{where}.{name}", code=code)
    return value


def only(part: Mapping[str, Any], where: str, *names: str) -> None:
    """Raises `InvalidRequest` for a field that is none of these and is not null."""
    for name, value in part.items():
        if name not in names and name != "type" and value not in (None, [], {}):
            message = f"{where}.{name} is not supported by this server"
            raise InvalidRequest(message[:300], param=f"{where}.{name}"[:200], code="unsupported_parameter")


def unknown(part: Mapping[str, Any], where: str) -> InvalidRequest:
    """The refusal of a type that cannot be served."""
    message = f"{where}: the type {str(part['type'])[:40]!r} is not supported by this server"
    return InvalidRequest(message, param=f"{where}.type", code="unsupported_parameter")
