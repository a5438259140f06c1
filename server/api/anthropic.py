"""POST /v1/messages and /v1/messages/count_tokens: Anthropic's API, for its clients.

Rule: errors under these paths have Anthropic's form, see `errors.py`. Reasoning is sent as a thinking block only where
the client has asked for it, because others take the first block for the answer.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from decoders.core.engine import Finish
from decoders.core.messages import ToolCall
from decoders.core.trace import Usage
from server.api import errors
from server.api.anthropic_wire import CountRequest, MessagesRequest
from server.api.body import read_json
from server.api.desk import Desk, tell
from server.api.openapi import BytesRoute, anthropic_errors, request_body
from server.api.vendor import longthink
from server.context import named
from server.narrator import Piece
from server.report import Report

_STOP: Mapping[Finish, str] = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}

_EMPTY: Mapping[str, Mapping[str, Any]] = {
    "text": {"type": "text", "text": "", "citations": None},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}
"""Blocks as they begin."""


def router(desk: Desk) -> APIRouter:
    """The routes."""
    routes, service = APIRouter(route_class=BytesRoute), desk.service

    @routes.post(
        "/v1/messages",
        openapi_extra=request_body(MessagesRequest),
        response_class=Response,
        responses=anthropic_errors(),
    )
    async def messages(request: Request) -> Response:
        """Answer a conversation, as Anthropic's API does."""
        asked = MessagesRequest.parse(await read_json(request))
        report, _ = await desk.report(asked.ask(), request)
        reply = _Reply(asked, report)
        if asked.stream:
            return desk.stream(tell(report, reply), _failure)
        return await desk.whole(request, reply.whole())

    @routes.post(
        "/v1/messages/count_tokens",
        openapi_extra=request_body(CountRequest),
        response_class=Response,
        responses=anthropic_errors(),
    )
    async def count_tokens(request: Request) -> Response:
        """How many tokens a conversation has."""
        asked = CountRequest.parse(await read_json(request))
        model, _ = service.resolve(asked.model)
        prompt = asked.prompt()
        service.media.check(prompt.messages)
        count = await service.models[model].engine.count(prompt)
        return Response(orjson.dumps({"input_tokens": count}), media_type="application/json")

    return routes


class _Reply:
    """One message, whole or as a stream of blocks, of which one is open at a time."""

    def __init__(self, asked: MessagesRequest, report: Report) -> None:
        self._asked = asked
        self._report = report
        self._id = named(f"msg_{uuid.uuid4().hex}")
        self._index = -1
        self._open: str | None = None

    async def whole(self) -> bytes:
        """The message in one piece."""
        reasoning = (await self._report.reasoning())[0]
        text, done = self._report.text(0), self._report.completion(0)
        content: list[dict[str, Any]] = []
        if reasoning and self._asked.shows_thinking:
            content.append({**_EMPTY["thinking"], "thinking": reasoning})
        if text:
            content.append({**_EMPTY["text"], "text": text})
        content += [{**_tool_use(call), "input": _input(call)} for call in (done.tool_calls if done else ())]
        stop = _STOP[self._report.finish(0)]
        body = self._message(content, stop, _usage(self._report.usage()))
        return orjson.dumps({**body, "longthink": longthink(self._report)})

    def begin(self, index: int) -> bytes:
        """The message without content; what its prompts cost is known in the end."""
        message = self._message([], None, _usage(Usage()))
        return _event("message_start", message=message) + _event("ping")

    def piece(self, index: int, piece: Piece) -> bytes:
        """Text of a block."""
        kind = "text" if piece.kind == "content" else "thinking"
        if kind == "thinking" and not self._asked.shows_thinking:
            return b""
        data = b"" if self._open == kind else self._close() + self._start(kind, _EMPTY[kind])
        return data + self._delta({"type": f"{kind}_delta", kind: piece.text})

    def finish(self, index: int, *, last: bool) -> bytes:
        """The end of the open block, and the calls of tools."""
        data, done = self._close(), self._report.completion(0)
        for call in done.tool_calls if done else ():
            data += self._start("tool_use", {**_tool_use(call), "input": {}})
            data += self._delta({"type": "input_json_delta", "partial_json": orjson.dumps(_input(call)).decode()})
            data += self._close()
        return data

    def end(self) -> bytes:
        """Why it ended, and what it cost."""
        delta = {"stop_reason": _STOP[self._report.finish(0)], "stop_sequence": None}
        usage, ours = _usage(self._report.usage()), longthink(self._report)
        return _event("message_delta", delta=delta, usage=usage, longthink=ours) + _event("message_stop")

    def _message(self, content: list[dict[str, Any]], stop: str | None, usage: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._asked.model,
            "content": content,
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": usage,
        }

    def _start(self, kind: str, block: Mapping[str, Any]) -> bytes:
        self._index, self._open = self._index + 1, kind
        return _event("content_block_start", index=self._index, content_block=block)

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", index=self._index, delta=delta)

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        self._open = None
        return _event("content_block_stop", index=self._index)


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **fields}))


def _failure(error: Exception) -> bytes:
    return b"event: error\ndata: " + orjson.dumps(errors.anthropic(error)[1]) + b"\n\n"


def _usage(usage: Usage) -> dict[str, Any]:
    """Anthropic counts what came from the cache beside the input, not within it."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }


def _tool_use(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name}


def _input(call: ToolCall) -> dict[str, Any]:
    """The arguments as an object: what the model wrote may be none, and Anthropic's schema has nothing else."""
    try:
        value = orjson.loads(call.arguments)
    except orjson.JSONDecodeError:
        value = call.arguments
    return value if isinstance(value, dict) else {"arguments": value}
