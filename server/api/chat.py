"""POST /v1/chat/completions, streamed and whole. Rule: both are told by the same narrator, so they say the same."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from server.api import wire
from server.api.body import read_json
from server.api.chunks import ChunkWriter
from server.api.openapi import ERRORS, BytesRoute, request_body
from server.api.sse import DONE, EventStream
from server.api.wire import ChatRequest
from server.connections import Connections
from server.generation import Generation
from server.metrics import Metrics
from server.service import Service


def router(
    service: Service, connections: Connections, metrics: Metrics, *, keep_alive: float, reasoning_content: bool
) -> APIRouter:
    """The route, over one service."""
    routes = APIRouter(route_class=BytesRoute)

    @routes.post(
        "/v1/chat/completions",
        openapi_extra=request_body(ChatRequest),
        response_class=Response,
        responses=ERRORS,
    )
    async def chat_completions(request: Request) -> Response:
        """Answer the last message, with the chosen decoder."""
        chat = ChatRequest.parse(await read_json(request))
        order = service.order(chat.ask())
        watch = metrics.watch(order.model, order.decoder.name)
        reply = _Reply(chat, Generation(order, service.runs(order), watch), alias=reasoning_content)
        if chat.stream:
            return EventStream(reply.events(), connections, keep_alive)
        async with connections.enter(request.receive):
            content = await reply.whole()
        return Response(content, media_type="application/json")

    return routes


class _Reply:
    """One response: what the client wants to see of a generation."""

    def __init__(self, chat: ChatRequest, generation: Generation, *, alias: bool) -> None:
        self._chat = chat
        self._generation = generation
        self._alias = alias
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())

    async def whole(self) -> bytes:
        """The response in one piece."""
        generation, reasoning = self._generation, [list[str]() for _ in range(self._generation.order.n)]
        async with aclosing(generation.pieces()) as batches:
            async for batch in batches:
                for index, piece in batch:
                    if piece.kind == "reasoning":
                        reasoning[index].append(piece.text)
        shown = self._chat.include_reasoning is not False
        choices = [self._choice(i, "".join(texts) if shown else "") for i, texts in enumerate(reasoning)]
        head = {"id": self._id, "created": self._created, "model": self._chat.model}
        body = wire.completion_object(head, choices, generation.usage())
        return orjson.dumps({**body, "longthink": self._longthink()})

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The response as server-sent events, as many in one piece as there are."""
        chat, generation, n = self._chat, self._generation, self._generation.order.n
        include_usage = bool(chat.stream_options and chat.stream_options.include_usage)
        writer = ChunkWriter(self._id, self._created, chat.model, usage=include_usage, alias=self._alias)
        shown = chat.include_reasoning is not False
        data = b"".join(writer.role(i) for i in range(n))
        unfinished = set(range(n))
        async with aclosing(generation.pieces()) as batches:
            async for batch in batches:
                for index, piece in batch:
                    if shown or piece.kind == "content":
                        data += writer.piece(index, piece)
                for index in [i for i in unfinished if generation.answer(i)]:
                    unfinished.remove(index)
                    data += self._finish(writer, index, last=not unfinished and not include_usage)
                # the end goes out together with what follows it, and nothing before the first piece
                if unfinished and batch and data:
                    yield data
                    data = b""
        if include_usage:
            data += writer.usage(wire.usage_object(generation.usage()), self._longthink())
        yield data + DONE

    def _finish(self, writer: ChunkWriter, index: int, *, last: bool) -> bytes:
        answer = self._generation.answer(index)
        completion = answer.completion if answer else None
        logprobs = wire.logprobs_object(completion, bool(self._chat.logprobs))
        finish = self._generation.finish(index)
        calls = completion.tool_calls if completion else ()
        return writer.tool_calls(index, calls) + writer.finish(
            index, finish, logprobs, self._longthink() if last else None
        )

    def _choice(self, index: int, reasoning: str) -> dict[str, Any]:
        answer = self._generation.answer(index)
        completion = answer.completion if answer else None
        return {
            "index": index,
            "message": wire.message_object(completion, reasoning, alias=self._alias),
            "logprobs": wire.logprobs_object(completion, bool(self._chat.logprobs)),
            "finish_reason": self._generation.finish(index),
        }

    def _longthink(self) -> dict[str, Any]:
        """What is not in OpenAI's schema: how the answer came about, enough to ask for it again."""
        order, usage = self._generation.order, self._generation.usage()
        return {
            "decoder": {"name": order.decoder.name, **order.decoder.model_dump()},
            "seed": order.seed,
            "steps": usage.steps,
            "by_role": usage.by_role,
            "budget": {"tokens": order.budget, "spent": usage.completion_tokens},
        }
