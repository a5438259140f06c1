"""/v1/chat/completions: streamed, whole, and in the background.

Rule: all are told by the same narrator, so they say the same.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from server.api import errors, wire
from server.api.body import read_json
from server.api.chunks import ChunkWriter, ending
from server.api.desk import Desk, owner, tell
from server.api.durable import IDEMPOTENCY_KEY, PREFIXES, Durable, Order, refuse_webhook
from server.api.openapi import ERRORS, BytesRoute, request_body
from server.api.sse import DONE, failure_event
from server.api.vendor import longthink
from server.api.wire import ChatRequest
from server.background import Background
from server.context import named
from server.narrator import Piece
from server.report import Cancelled, Report
from server.store.base import Store, Stored
from server.worker import Work

_PATH = "/v1/chat/completions"


def router(desk: Desk, store: Store, background: Background, *, reasoning_content: bool) -> APIRouter:
    """The routes; `reasoning_content` sends reasoning under that name too."""
    routes = APIRouter(route_class=BytesRoute)

    told: dict[str, Any] = {"response_class": Response, "responses": ERRORS}

    def opened(stored: Stored) -> Work:
        order = Order.load(stored)
        chat = ChatRequest.parse(order.request)
        head = _head(stored.id, chat, order.created)

        def writer(report: Report) -> _Durable:
            return _Durable(chat, report, head, alias=reasoning_content)

        return Work(order.settle(chat.ask()), writer, order.webhook)

    durable = Durable(desk, store, background, _PATH, "completion", opened)

    @routes.post(_PATH, openapi_extra=request_body(ChatRequest), **told)
    async def chat_completions(request: Request) -> Response:
        """Answer the last message, with the chosen decoder."""
        sent = await read_json(request)
        chat, id = ChatRequest.parse(sent), named(PREFIXES[_PATH] + uuid.uuid4().hex)
        if chat.background or chat.allow_training or IDEMPOTENCY_KEY in request.headers:
            stored = Stored(id, b"", background=bool(chat.background), owner=owner(request))
            chat.check_durable()
            return await durable.create(request, stored, sent, chat)
        refuse_webhook(chat.webhook_url)
        report, prompt_ids = await desk.report(chat.ask(), request, ids=bool(chat.return_token_ids))
        reply = _Reply(chat, report, _head(id, chat, int(time.time())), prompt_ids, alias=reasoning_content)
        return desk.stream(tell(report, reply)) if chat.stream else await desk.whole(request, reply.whole())

    durable.add_routes(routes, "chat.completion.deleted")
    return routes


def _head(id: str, chat: ChatRequest, created: int) -> dict[str, Any]:
    return {"id": id, "created": created, "model": chat.model}


class _Reply:
    """One response: what the client wants to see of a report, whole or as a stream."""

    def __init__(
        self,
        chat: ChatRequest,
        report: Report,
        head: dict[str, Any],
        prompt_ids: Sequence[tuple[int, ...]] = (),
        *,
        alias: bool,
    ) -> None:
        self._chat = chat
        self._report = report
        self._ids = {"prompt_token_ids": prompt_ids[0]} if prompt_ids else {}
        self._alias = alias
        self._shown = chat.include_reasoning is not False
        self._usage = bool(chat.stream_options and chat.stream_options.include_usage)
        self._head = head
        self._chunks = ChunkWriter(self._head, ending(chat.stream_options, report), alias=alias)

    async def whole(self) -> bytes:
        """The response in one piece."""
        return orjson.dumps(self._object(await self._report.reasoning()))

    def begin(self, index: int) -> bytes:
        """The chunk with the role."""
        return self._chunks.role(index)

    def piece(self, index: int, piece: Piece) -> bytes:
        """A chunk of text."""
        return self._chunks.piece(index, piece) if self._shown or piece.kind != "reasoning" else b""

    def finish(self, index: int, *, last: bool) -> bytes:
        """The chunks with tool calls and the finish reason."""
        done = self._report.completion(index)
        calls = self._chunks.tool_calls(index, done.tool_calls if done else ())
        more = {**self._ids, "longthink": longthink(self._report)} if last and not self._usage else self._ids
        choice = {"index": index, "delta": {}, **self._ending(index)}
        return calls + self._chunks.finish(choice, more)

    def end(self) -> bytes:
        """The chunk with the usage, where it is wanted, and the end mark."""
        if not self._usage:
            return DONE
        return self._chunks.usage(wire.usage_object(self._report.usage()), longthink(self._report)) + DONE

    def _object(self, reasoning: Sequence[str]) -> dict[str, Any]:
        choices = [self._choice(i, text if self._shown else "") for i, text in enumerate(reasoning)]
        body = wire.completion_object(self._head, choices, self._report.usage())
        return {**body, **self._ids, "longthink": longthink(self._report)}

    def _choice(self, index: int, reasoning: str) -> dict[str, Any]:
        return {
            "index": index,
            "message": wire.message_object(self._report.completion(index), reasoning, alias=self._alias),
            **self._ending(index),
        }

    def _ending(self, index: int) -> dict[str, Any]:
        done = self._report.completion(index)
        return {
            "logprobs": wire.logprobs_object(done, bool(self._chat.logprobs)),
            "finish_reason": self._report.finish(index),
            **({"token_ids": done.token_ids if done else ()} if self._ids else {}),
        }


class _Durable(_Reply):
    """A response that is there at any time: `longthink.status` says how far it is."""

    def __init__(self, chat: ChatRequest, report: Report, head: dict[str, Any], *, alias: bool) -> None:
        super().__init__(chat, report, head, alias=alias)
        self._status = "queued"
        self._error: dict[str, Any] = {}
        self._reasoning: list[list[str]] = [[] for _ in range(report.choices)]

    def begin(self, index: int) -> bytes:
        """The chunk with the role."""
        self._status = "in_progress"
        return super().begin(index)

    def piece(self, index: int, piece: Piece) -> bytes:
        """A chunk of text."""
        if piece.kind == "reasoning":
            self._reasoning[index].append(piece.text)
        return super().piece(index, piece)

    def end(self) -> bytes:
        """The last chunk and the end mark."""
        self._status = "completed"
        return super().end()

    def failure(self, error: Exception) -> bytes:
        """The error, and no end mark."""
        self._status = "cancelled" if isinstance(error, Cancelled) else "failed"
        self._error = errors.describe(error)[1]
        return failure_event(error)

    def body(self) -> bytes:
        """The whole response; without choices where there is no answer yet, or none will come."""
        status = {"status": self._status}
        if self._status == "completed":
            whole = self._object(["".join(texts) for texts in self._reasoning])
            return orjson.dumps({**whole, "longthink": {**status, **whole["longthink"]}})
        body = wire.completion_object(self._head, [], self._report.usage())
        return orjson.dumps({**body, **self._error, "longthink": status})
