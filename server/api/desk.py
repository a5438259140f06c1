"""Where the requests of every dialect are taken: a dialect reads and writes bytes, what lies between is here."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from decoders.core.trace import Record, Step, Trace, Usage
from server.admission.caller import Caller
from server.admission.permit import Admission
from server.api.sse import EventStream, Failure, failure_event
from server.cache import Cache
from server.connections import Connections
from server.context import origin
from server.generation import Generation
from server.metrics import Metrics
from server.narrator import Piece
from server.report import Report, Writer
from server.service import Ask, Journal, Service
from server.telemetry import Tracing

PromptIds = Sequence[tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Desk:
    """The service with what stands between it and a client; `keep_alive` is in seconds."""

    service: Service
    connections: Connections
    metrics: Metrics
    keep_alive: float
    admission: Admission
    cache: Cache | None = None
    tracing: Tracing | None = None

    async def report(self, ask: Ask, request: Request, *, ids: bool = False) -> tuple[Report, PromptIds]:
        """What an ask comes to, or came to before, and with `ids` the token ids of its prompts.

        Raises `InvalidRequest` naming the field, also where the decoder or the engine has no ids to show.
        """
        generation = self.generation(dataclasses.replace(ask, caller=Caller.of(request)))
        if ids:
            return generation, await self._prompt_ids(generation)
        if self.cache is None or (key := self.cache.key(ask, generation.order, owner(request))) is None:
            return generation, ()
        fresh = "no-cache" in request.headers.get("cache-control", "")
        found = None if fresh else await self.cache.find(key)
        if found is not None:
            found.labels = generation.labels
        return found or self.cache.keeping(generation, key), ()

    def generation(
        self,
        ask: Ask,
        steps: Mapping[int, Sequence[Record]] | None = None,
        journal: Journal | None = None,
        said: Sequence[Sequence[Piece]] = (),
    ) -> Generation:
        """What an ask comes to; nothing has started yet. Raises `InvalidRequest` naming the field.

        A run that was begun elsewhere has `steps` behind it by choice, of which this was `said`.
        """
        order = self.service.order(ask)
        whom = origin()
        whom.model, whom.decoder = order.model, order.decoder.name
        runs = self.service.runs(order, steps, journal)
        watch = self.metrics.watch(self.service.models.base(order.model), order.decoder.name)
        known = ([record for record in done if isinstance(record, Step)] for done in (steps or {}).values())
        before = Usage.total([Trace(steps=done).usage() for done in known])
        permit = self.admission.permit(
            ask.caller,
            order.budget,
            priority=order.sampling.priority,
            deadline=order.deadline,
            lasting=journal is not None,
        )
        spans = self.tracing.steps(order, runs) if self.tracing else None
        return Generation(order, runs, watch, permit, said, before, spans)

    async def _prompt_ids(self, generation: Generation) -> PromptIds:
        model = generation.order.model
        return await asyncio.gather(*(self.service.token_ids(model, prompt) for prompt in generation.prompts()))

    async def whole(self, request: Request, content: Coroutine[Any, Any, bytes]) -> Response:
        """A JSON response that is made while the client waits, and no longer."""
        try:
            connected = self.connections.enter(request.receive)
        except BaseException:
            content.close()
            raise
        async with connected:
            body = await content
        return Response(body, media_type="application/json")

    def stream(self, events: AsyncGenerator[bytes, None], failure: Failure = failure_event) -> EventStream:
        """A response of server-sent events; `failure` writes the one for an error in the middle."""
        return EventStream(events, self.connections, self.keep_alive, failure)


def owner(request: Request) -> str:
    """The id of the API key that asks; empty where there are no keys."""
    return Caller.of(request).id


async def tell(report: Report, writer: Writer) -> AsyncGenerator[bytes, None]:
    """A generation, or the recording of one, as server-sent events, as many in one piece as there are."""
    unfinished = set(range(report.choices))
    data = b"".join(writer.begin(index) for index in sorted(unfinished))
    async with aclosing(report.pieces()) as batches:
        async for batch in batches:
            for index, piece in batch:
                data += writer.piece(index, piece)
            for index in [i for i in sorted(unfinished) if report.answer(i)]:
                unfinished.remove(index)
                data += writer.finish(index, last=not unfinished)
            # the end goes out together with what follows it, and nothing before the first piece
            if unfinished and batch and data:
                yield data
                data = b""
    yield data + writer.end()
