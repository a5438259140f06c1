"""The messages of a chat request. Rule: the conversation is kept as it was sent, each part at its place, or refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from decoders.core.errors import InvalidRequest
from decoders.core.messages import Attachment, Message, ToolCall
from server.api.fields import Items, NothingField, Wire

Role = Literal["system", "developer", "user", "assistant", "tool"]

_PARTS = {"image_url": ("url",), "video_url": ("url",), "input_audio": ("data", "format"), "file": ()}
"""Content parts beside text, each with the fields that it cannot do without."""


@dataclass(frozen=True, slots=True)
class Content:
    """A message's text, with what is not text at its places in it."""

    text: str = ""
    attachments: tuple[Attachment, ...] = ()


def _content(value: Any) -> Content | None:
    if value is None:
        return None
    if isinstance(value, str):
        return Content(value)
    if not isinstance(value, list):
        raise PydanticCustomError("content", "content is a string or an array of parts")
    text, attachments = "", []
    for place, part in enumerate(value):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            text += part["text"]
        elif isinstance(kind, str) and kind in _PARTS and _whole(part, kind):
            attachments.append(Attachment(json.dumps(part, ensure_ascii=False), len(text)))
        else:
            known = kind == "text" or (isinstance(kind, str) and kind in _PARTS)
            message = "part {place} has no complete {kind}" if known else "part {place} is of the unknown type {kind}"
            raise PydanticCustomError("content", message, {"place": place, "kind": str(kind)[:40]})
    return Content(text, tuple(attachments))


def _whole(part: dict[str, Any], kind: str) -> bool:
    inner = part.get(kind)
    return isinstance(inner, dict) and all(isinstance(inner.get(name), str) and inner[name] for name in _PARTS[kind])


_TEXT = {"properties": {"type": {"const": "text"}, "text": {"type": "string"}}, "required": ["type", "text"]}
_OTHER = [
    {
        "properties": {
            "type": {"const": kind},
            kind: {
                "type": "object",
                "properties": {name: {"type": "string", "minLength": 1} for name in names},
                "required": list(names),
            },
        },
        "required": ["type", kind],
    }
    for kind, names in _PARTS.items()
]
_ARRAY = {"type": "array", "items": {"anyOf": [{"type": "object", **form} for form in (_TEXT, *_OTHER)]}}

ContentField = Annotated[
    Content | None,
    BeforeValidator(_content),
    WithJsonSchema({"anyOf": [{"type": "string"}, _ARRAY, {"type": "null"}]}),
]


class FunctionCallIn(Wire):
    """A function that was called."""

    name: str = Field(min_length=1)
    arguments: str
    """JSON, as the model wrote it."""


class ToolCallIn(Wire):
    """A call that the assistant has made."""

    id: str = Field(min_length=1)
    type: Literal["function"] = "function"
    function: FunctionCallIn
    index: int | None = None
    """Accepted and not used: clients that put a stream together leave it here."""


class MessageIn(Wire):
    """One message of the conversation."""

    role: Role
    content: ContentField = None
    tool_calls: Annotated[list[ToolCallIn], Items] | None = None
    """What the assistant called."""
    tool_call_id: str | None = Field(default=None, min_length=1)
    """Which call a tool's message answers."""
    name: str | None = None
    """Accepted and not used, as are all fields below: no chat template here knows it."""
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    audio: NothingField = None
    function_call: NothingField = None


def conversation(messages: Sequence[MessageIn], *, ended: bool = False) -> tuple[Message, ...]:
    """The messages in the decoders' terms; one that has `ended` needs no answer.

    Raises `InvalidRequest` naming what does not fit its role or its place.
    """
    calls: set[str] = set()
    for place, message in enumerate(messages):
        _check(message, f"messages[{place}]", calls)
        calls |= {call.id for call in message.tool_calls or ()}
    if not ended and messages[-1].role not in ("user", "tool"):
        param = f"messages[{len(messages) - 1}].role"
        raise InvalidRequest("the last message must be the user's or a tool's", param=param)
    if not any(message.role == "user" for message in messages):
        raise InvalidRequest("no message is the user's: there is no question", param="messages")
    return tuple(map(_message, messages))


def begun(
    messages: Sequence[MessageIn], continue_final: bool | None, generation_prompt: bool | None
) -> tuple[tuple[Message, ...], str]:
    """The conversation and the beginning of its next message, which is the last one where that is to be continued.

    These are vLLM's `continue_final_message` and `add_generation_prompt`, which exclude each other.
    """
    if not continue_final:
        return conversation(messages, ended=generation_prompt is False), ""
    last, where = messages[-1], f"messages[{len(messages) - 1}]"
    if generation_prompt:
        message = "continue_final_message and add_generation_prompt exclude each other"
        raise InvalidRequest(message, param="add_generation_prompt")
    if last.role != "assistant" or last.tool_calls or last.content is None or not last.content.text:
        raise InvalidRequest(f"{where} is no text of the assistant's to continue", param="continue_final_message")
    if len(messages) == 1:
        raise InvalidRequest("no message is the user's: there is no question", param="messages")
    return conversation(messages[:-1]), last.content.text


def _check(message: MessageIn, where: str, calls: set[str]) -> None:
    content, role = message.content, message.role
    if content is None and role != "assistant":
        raise InvalidRequest(f"{where}.content is missing", param=f"{where}.content", code="missing_required_parameter")
    if content is not None and content.attachments and role not in ("user", "tool"):
        raise InvalidRequest(f"{where}: only text can be the {role}'s", param=f"{where}.content")
    if message.tool_calls and role != "assistant":
        raise InvalidRequest(f"{where}: only the assistant calls tools", param=f"{where}.tool_calls")
    if (message.tool_call_id is not None) != (role == "tool"):
        code = "missing_required_parameter" if role == "tool" else None
        said = "a tool's message says which call it answers" if role == "tool" else f"the {role} answers no call"
        raise InvalidRequest(f"{where}.tool_call_id: {said}", param=f"{where}.tool_call_id", code=code)
    if message.tool_call_id is not None and message.tool_call_id not in calls:
        raise InvalidRequest(f"{where}: no earlier message makes this call", param=f"{where}.tool_call_id")


def _message(sent: MessageIn) -> Message:
    content = sent.content or Content()
    calls = tuple(ToolCall(call.id, call.function.name, call.function.arguments) for call in sent.tool_calls or ())
    # few chat templates know the developer role, which means what system meant before
    role = "system" if sent.role == "developer" else sent.role
    return Message(role, content.text, content.attachments, calls, sent.tool_call_id)
