"""/v1/responses: create, stream, retrieve, follow, cancel, delete, input items.

Rule: a response in the background is told to the store and to nobody else; whoever wants to see it, the client that
asked for it too, follows the store's log. So it makes no difference who reads, from where, and how often.
"""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from decoders.core.errors import InvalidRequest
from server.api.body import read_json
from server.api.desk import Desk, tell
from server.api.errors import ApiError
from server.api.openapi import ERRORS, BytesRoute, parameters, request_body
from server.api.responses_events import ResponseWriter
from server.api.responses_items import items
from server.api.responses_query import FollowQuery, ListQuery
from server.api.responses_wire import ResponsesRequest
from server.background import Background, Cancelled
from server.connections import Connected
from server.generation import Generation
from server.store.base import ResponseStore, Stored


def router(desk: Desk, store: ResponseStore, background: Background) -> APIRouter:
    """The routes."""
    routes = APIRouter(route_class=BytesRoute)
    responses = _Responses(desk, store, background)
    named, path = "response_id", "/v1/responses/{response_id}"
    told: dict[str, Any] = {"response_class": Response, "responses": ERRORS}

    @routes.post("/v1/responses", openapi_extra=request_body(ResponsesRequest), **told)
    async def create(request: Request) -> Response:
        """Answer an input, at once or in the background."""
        return await responses.create(request, ResponsesRequest.parse(await read_json(request)))

    @routes.get(path, openapi_extra=parameters(named, FollowQuery), **told)
    async def retrieve(request: Request) -> Response:
        """A stored response, or its events from any number on."""
        query = FollowQuery.read(request.query_params)
        stored = await responses.stored(request)
        if not query.stream:
            return _json(stored.body)
        if not stored.background:
            raise InvalidRequest("only background responses can be streamed again", param="stream")
        return desk.stream(responses.follow(stored.id, query.starting_after))

    @routes.delete(path, openapi_extra=parameters(named), **told)
    async def delete(request: Request) -> Response:
        """Forget a response; one that runs is cancelled before."""
        stored = await responses.stored(request)
        await background.cancel(stored.id)
        await store.delete(stored.id)
        return _json(orjson.dumps({"id": stored.id, "object": "response", "deleted": True}))

    @routes.post(path + "/cancel", openapi_extra=parameters(named), **told)
    async def cancel(request: Request) -> Response:
        """End a background response."""
        stored = await responses.stored(request)
        if not stored.background:
            raise InvalidRequest("only background responses can be cancelled", param="response_id")
        await background.cancel(stored.id)
        return _json((await responses.stored(request)).body)

    @routes.get(path + "/input_items", openapi_extra=parameters(named, ListQuery), **told)
    async def input_items(request: Request) -> Response:
        """What a response was asked."""
        query = ListQuery.read(request.query_params)
        return _json(query.page([orjson.loads(item) for item in (await responses.stored(request)).input]))

    return routes


class _Responses:
    """What the routes share."""

    def __init__(self, desk: Desk, store: ResponseStore, background: Background) -> None:
        self._desk, self._store, self._background = desk, store, background

    async def stored(self, request: Request) -> Stored:
        """The response that the path names. Raises `ApiError` where there is none."""
        id = request.path_params["response_id"]
        found = await self._store.get(id)
        if found is None:
            raise ApiError(
                404, f"there is no response {id[:80]!r} here", code="response_not_found", param="response_id"
            )
        return found

    async def create(self, request: Request, asked: ResponsesRequest) -> Response:
        """Whatever the request asks for."""
        given = items(asked.input)
        context = await self._context(asked.previous_response_id)
        generation = self._desk.generation(asked.ask([orjson.loads(item) for item in context], given))
        head = {
            "id": f"resp_{uuid.uuid4().hex}",
            "object": "response",
            "created_at": int(time.time()),
            **asked.repeated(),
        }
        writer = ResponseWriter(head, generation, logprobs=asked.logprobs)
        body = orjson.dumps(writer.body())
        stored = Stored(head["id"], body, tuple(map(orjson.dumps, given)), context, bool(asked.background))
        if asked.background:
            await self._start(stored, generation, writer)
            return self._desk.stream(self.follow(stored.id, -1)) if asked.stream else _json(body)
        told = self._told(None if asked.store is False else stored, generation, writer)
        if asked.stream:
            return self._desk.stream(told, writer.failure)
        return await self._desk.whole(request, _whole(told, writer))

    async def follow(self, id: str, after: int) -> AsyncGenerator[bytes, None]:
        """The events of a background response, numbered above `after`."""
        async with aclosing(self._store.follow(id, after)) as batches:
            async for batch in batches:
                yield b"".join(batch)

    async def _context(self, previous: str | None) -> tuple[bytes, ...]:
        """All items of the conversation that ends with this response."""
        if previous is None:
            return ()
        param, found = "previous_response_id", await self._store.get(previous)
        if found is None:
            message = f"there is no response {previous[:80]!r} here"
            raise InvalidRequest(message, param=param, code="previous_response_not_found")
        body = orjson.loads(found.body)
        if body["status"] not in ("completed", "incomplete"):
            raise InvalidRequest(f"the response {previous} is {body['status']}", param=param)
        return (*found.context, *found.input, *map(orjson.dumps, body["output"]))

    async def _told(
        self, stored: Stored | None, generation: Generation, writer: ResponseWriter
    ) -> AsyncGenerator[bytes, None]:
        """The events for the client that waits; the response is stored before it reads the last one."""
        async with aclosing(tell(generation, writer)) as told:
            async for data in told:
                writer.drain()
                if stored is not None and writer.done:
                    await self._store.put(_done(stored, writer))
                yield data

    async def _start(self, stored: Stored, generation: Generation, writer: ResponseWriter) -> None:
        connected = self._background.enter()
        await self._store.put(stored)
        await self._background.start(stored.id, connected, self._work(connected, stored, generation, writer))

    async def _work(self, connected: Connected, stored: Stored, generation: Generation, writer: ResponseWriter) -> None:
        """Generate for the store's log; however it ends, the log says so."""
        try:
            async with connected, aclosing(tell(generation, writer)) as told:
                writer.begin(0)
                await self._store.append(stored.id, writer.drain())
                await self._store.put(dataclasses.replace(stored, body=orjson.dumps(writer.body())))
                async for _ in told:
                    if not writer.done:
                        await self._store.append(stored.id, writer.drain())
        except Cancelled:
            writer.cancel()
        except Exception as error:
            writer.failure(error)
        # in this order, so that whoever has read the last event finds the object as it says
        done = _done(stored, writer)
        await self._store.put(dataclasses.replace(done, done=False))
        await self._store.append(stored.id, writer.drain())
        await self._store.put(done)


async def _whole(told: AsyncGenerator[bytes, None], writer: ResponseWriter) -> bytes:
    async with aclosing(told):
        async for _ in told:
            pass
    return orjson.dumps(writer.body())


def _done(stored: Stored, writer: ResponseWriter) -> Stored:
    return dataclasses.replace(stored, body=orjson.dumps(writer.body()), done=True)


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json")
