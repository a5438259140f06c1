"""What `decoder=` and `budget=` become on the wire, for every API and for sync and async alike.

Rule: a request that names neither is sent as openai would send it, so any OpenAI server takes it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from openai._types import RequestOptions
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming as OpenAIChat
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming as OpenAIStreamedChat
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming as OpenAIResponse
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming as OpenAIStreamedResponse
from typing_extensions import TypedDict  # as openai's own, before Python 3.13

from clients.decoders import Decoder

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Budget = int | Effort
"""Tokens for all that is generated, or a share of the server's largest budget."""

_RAW = "x-stainless-raw-response"
"""The mark that openai puts on a request whose response is wanted as it is."""
_KEY = "Idempotency-Key"


class Ours(TypedDict, total=False):
    """What every `create` takes beside its API's own fields."""

    decoder: Decoder | None
    budget: Budget | None
    resume: bool | None
    """Whether a stream survives its connection; by default it does where a decoder is named."""
    extra_headers: Mapping[str, str] | None
    extra_query: Mapping[str, object] | None
    extra_body: Mapping[str, object] | None
    timeout: float | None


class ChatFields(OpenAIChat, Ours):
    """A chat completion."""


class StreamedChatFields(OpenAIStreamedChat, Ours):
    """A chat completion that is streamed."""


class ResponseFields(OpenAIResponse, Ours):
    """A response."""


class StreamedResponseFields(OpenAIStreamedResponse, Ours):
    """A response that is streamed."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The arguments for openai's method, and whether the stream is to survive its connection."""

    fields: dict[str, Any]
    resumable: bool


def chat(given: Mapping[str, Any]) -> Sent:
    """A chat completion."""
    return _sent(given, lambda effort: {"reasoning_effort": effort}, "max_completion_tokens")


def response(given: Mapping[str, Any]) -> Sent:
    """A response."""
    reasoning = given.get("reasoning") or {}
    return _sent(given, lambda effort: {"reasoning": {**reasoning, "effort": effort}}, "max_output_tokens")


def keyed(headers: Mapping[str, str] | None) -> dict[str, str]:
    """With an idempotency key: the run outlives its connection, and a request that is sent again begins no other."""
    given = dict(headers or {})
    return given if any(name.lower() == _KEY.lower() for name in given) else {**given, _KEY: uuid.uuid4().hex}


def following(last: int | None) -> RequestOptions:
    """How to ask for a stream behind an event, or from its beginning."""
    after = {} if last is None else {"Last-Event-ID": str(last)}
    return {"params": {"stream": "true"}, "headers": {"Accept": "text/event-stream", **after}}


def _sent(given: Mapping[str, Any], effort: Callable[[str], dict[str, Any]], limit: str) -> Sent:
    fields = dict(given)
    decoder, budget, resume = (fields.pop(name, None) for name in ("decoder", "budget", "resume"))
    if budget is not None:
        fields |= effort(budget) if isinstance(budget, str) else {limit: budget}
    if decoder is not None:
        fields["extra_body"] = {**(fields.get("extra_body") or {}), "decoder": decoder}
    names = {name.lower() for name in fields.get("extra_headers") or {}}
    wanted = decoder is not None if resume is None else resume
    resumable = bool(wanted and fields.get("stream") is True and _RAW not in names)
    if resumable:
        fields["extra_headers"] = keyed(fields.get("extra_headers"))
    return Sent(fields, resumable)
