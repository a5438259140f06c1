"""POST /v1/chat/completions, streamed and whole. Rule: both are told by the same narrator, so they say the same."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from server.api import wire
from server.api.body import read_json
from server.api.chunks import ChunkWriter
from server.api.desk import Desk, tell
from server.api.openapi import ERRORS, BytesRoute, request_body
from server.api.sse import DONE
from server.api.vendor import longthink
from server.api.wire import ChatRequest
from server.generation import Generation
from server.narrator import Piece


def router(desk: Desk, *, reasoning_content: bool) -> APIRouter:
    """The route; `reasoning_content` sends reasoning under that name too."""
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
        generation = desk.generation(chat.ask())
        prompt_ids = await desk.prompt_ids(generation) if chat.return_token_ids else []
        reply = _Reply(chat, generation, prompt_ids, alias=reasoning_content)
        return desk.stream(tell(generation, reply)) if chat.stream else await desk.whole(request, reply.whole())

    return routes


class _Reply:
    """One response: what the client wants to see of a generation, whole or as a stream."""

    def __init__(
        self, chat: ChatRequest, generation: Generation, prompt_ids: Sequence[tuple[int, ...]], *, alias: bool
    ) -> None:
        self._chat = chat
        self._generation = generation
        self._ids = {"prompt_token_ids": prompt_ids[0]} if prompt_ids else {}
        self._alias = alias
        self._shown = chat.include_reasoning is not False
        self._usage = bool(chat.stream_options and chat.stream_options.include_usage)
        self._head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": chat.model}
        self._chunks = ChunkWriter(self._head, usage=self._usage, alias=alias)

    async def whole(self) -> bytes:
        """The response in one piece."""
        reasoning = await self._generation.reasoning()
        choices = [self._choice(i, text if self._shown else "") for i, text in enumerate(reasoning)]
        body = wire.completion_object(self._head, choices, self._generation.usage())
        return orjson.dumps({**body, **self._ids, "longthink": longthink(self._generation)})

    def begin(self, index: int) -> bytes:
        """The chunk with the role."""
        return self._chunks.role(index)

    def piece(self, index: int, piece: Piece) -> bytes:
        """A chunk of text."""
        return self._chunks.piece(index, piece) if self._shown or piece.kind == "content" else b""

    def finish(self, index: int, *, last: bool) -> bytes:
        """The chunks with tool calls and the finish reason."""
        done = self._generation.completion(index)
        calls = self._chunks.tool_calls(index, done.tool_calls if done else ())
        more = {**self._ids, "longthink": longthink(self._generation)} if last and not self._usage else self._ids
        choice = {"index": index, "delta": {}, **self._ending(index)}
        return calls + self._chunks.finish(choice, more)

    def end(self) -> bytes:
        """The chunk with the usage, where it is wanted, and the end mark."""
        if not self._usage:
            return DONE
        return self._chunks.usage(wire.usage_object(self._generation.usage()), longthink(self._generation)) + DONE

    def _choice(self, index: int, reasoning: str) -> dict[str, Any]:
        return {
            "index": index,
            "message": wire.message_object(self._generation.completion(index), reasoning, alias=self._alias),
            **self._ending(index),
        }

    def _ending(self, index: int) -> dict[str, Any]:
        done = self._generation.completion(index)
        return {
            "logprobs": wire.logprobs_object(done, bool(self._chat.logprobs)),
            "finish_reason": self._generation.finish(index),
            **({"token_ids": done.token_ids if done else ()} if self._ids else {}),
        }
