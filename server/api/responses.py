"""/v1/responses: create, stream, retrieve, follow, cancel, delete, input items."""

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
from server.api.desk import Desk, owner, tell
from server.api.durable import IDEMPOTENCY_KEY, PREFIXES, Durable, Order, json_response, refuse_webhook
from server.api.openapi import ERRORS, BytesRoute, parameters, request_body
from server.api.responses_events import ResponseWriter
from server.api.responses_items import items
from server.api.responses_query import ListQuery
from server.api.responses_wire import ResponsesRequest
from server.background import Background
from server.context import named
from server.report import Report
from server.store.base import Store, Stored
from server.worker import Work

_PATH = "/v1/responses"


def router(desk: Desk, store: Store, background: Background) -> APIRouter:
    """The routes."""
    routes = APIRouter(route_class=BytesRoute)
    durable = Durable(desk, store, background, _PATH, "response", _open)
    responses = _Responses(desk, store, durable)
    named: str = "response_id"
    told: dict[str, Any] = {"response_class": Response, "responses": ERRORS}

    @routes.post(_PATH, openapi_extra=request_body(ResponsesRequest), **told)
    async def create(request: Request) -> Response:
        """Answer an input, at once or in the background."""
        return await responses.create(request, await read_json(request))

    durable.add_routes(routes, "response")

    @routes.get(f"{_PATH}/{{{named}}}/input_items", openapi_extra=parameters(named, ListQuery), **told)
    async def input_items(request: Request) -> Response:
        """What a response was asked."""
        query, stored = ListQuery.read(request.query_params), await durable.stored(request)
        return json_response(query.page([orjson.loads(item) for item in stored.input]))

    return routes


class _Responses:
    """How responses are made."""

    def __init__(self, desk: Desk, store: Store, durable: Durable) -> None:
        self._desk, self._store, self._durable = desk, store, durable

    async def create(self, request: Request, sent: dict[str, Any]) -> Response:
        """Whatever the request asks for."""
        asked, stream = ResponsesRequest.parse(sent), bool(sent.get("stream"))
        given = items(asked.input)
        context, labels = await self._context(request, asked.previous_response_id)
        stored = Stored(
            named(PREFIXES[_PATH] + uuid.uuid4().hex),
            b"",
            tuple(map(orjson.dumps, given)),
            context,
            bool(asked.background),
            owner=owner(request),
            labels=labels,
        )
        if asked.background or asked.allow_training or IDEMPOTENCY_KEY in request.headers:
            return await self._durable.create(request, stored, sent, asked)
        refuse_webhook(asked.webhook_url)
        ask = asked.ask([orjson.loads(item) for item in stored.context], given)
        report, _ = await self._desk.report(ask, request)
        writer = _writer(stored, asked, int(time.time()), report)
        told = self._told(None if asked.store is False else stored, report, writer)
        if stream:
            return self._desk.stream(told, writer.failure)
        return await self._desk.whole(request, _whole(told, writer))

    async def _context(self, request: Request, previous: str | None) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
        """All items of the conversation that ends with this response, and the labels that it has."""
        if previous is None:
            return (), ()
        param, found = "previous_response_id", await self._store.get(previous)
        if found is None or found.owner != owner(request) or not previous.startswith(PREFIXES[_PATH]):
            message = f"there is no response {previous[:80]!r} here"
            raise InvalidRequest(message, param=param, code="previous_response_not_found")
        body = orjson.loads(found.body)
        if body["status"] not in ("completed", "incomplete"):
            raise InvalidRequest(f"the response {previous} is {body['status']}", param=param)
        return (*found.context, *found.input, *map(orjson.dumps, body["output"])), found.labels

    async def _told(self, stored: Stored | None, report: Report, writer: ResponseWriter) -> AsyncGenerator[bytes, None]:
        """The events for the client that waits; the response is stored before it reads the last one."""
        async with aclosing(tell(report, writer)) as told:
            async for data in told:
                if stored is not None and writer.done:
                    labels = (*stored.labels, *report.labels)
                    await self._store.put(dataclasses.replace(stored, body=writer.body(), done=True, labels=labels))
                yield data


def _open(stored: Stored) -> Work:
    order = Order.load(stored)
    asked = ResponsesRequest.parse(order.request)
    ask = asked.ask(list(map(orjson.loads, stored.context)), list(map(orjson.loads, stored.input)))
    return Work(order.settle(ask), lambda report: _writer(stored, asked, order.created, report), order.webhook)


def _writer(stored: Stored, asked: ResponsesRequest, created: int, report: Report) -> ResponseWriter:
    head = {"id": stored.id, "object": "response", "created_at": created, **asked.repeated()}
    server = next((server.server_label for server in asked.servers), "")
    return ResponseWriter(head, report, logprobs=asked.logprobs, server=server)


async def _whole(told: AsyncGenerator[bytes, None], writer: ResponseWriter) -> bytes:
    async with aclosing(told):
        async for _ in told:
            pass
    return writer.body()
