"""Runs that a client may leave and come back to, for every API that has them: made, seen, followed, cancelled, deleted.

Rule: such a run is told to the store and to nobody else. Whoever wants to see it, the client that asked for it too,
reads the store's log, so it makes no difference who reads, on which replica, from where, and how often.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from typing import Any, Protocol

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from decoders.core.errors import InvalidRequest
from server.admission.caller import Caller
from server.api.desk import Desk, owner, tell
from server.api.errors import ApiError
from server.api.openapi import ERRORS, parameters
from server.api.responses_query import FollowQuery
from server.api.sse import EventStream, failure_event
from server.background import Background
from server.connections import Refused
from server.context import passed_on
from server.recording import Recording
from server.report import Cancelled, Failed, Gone
from server.service import Ask
from server.store.base import Purged, Store, Stored, StoreUnavailable
from server.worker import Opener

IDEMPOTENCY_KEY = "idempotency-key"
PREFIXES = {"/v1/chat/completions": "chatcmpl-", "/v1/responses": "resp_"}
"""How ids begin under each path."""
_KEY_LENGTH = 255
_CLAIMED_SECONDS = 60.0
"""How long a key is taken by a request that may have died before its run was kept."""
_KEY_SECONDS = 86_400.0


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """What is kept of a request: enough for any replica to do the same. Times in seconds since the epoch."""

    path: str
    """Of the API that took it."""
    request: Mapping[str, Any]
    created: int
    seed: int | None = None
    deadline: float | None = None
    caller: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Whose it is and what was claimed for it, as `Caller.dump` has it."""
    trace: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """The trace that it belongs to, as headers."""
    webhook: str = ""
    """A URL that is told of the end."""

    def dump(self) -> bytes:
        """As JSON."""
        return orjson.dumps(self)

    @classmethod
    def load(cls, stored: Stored) -> Order:
        """Of a stored run."""
        return cls(**orjson.loads(stored.order))

    def settle(self, ask: Ask) -> Ask:
        """The request's ask, with what was drawn and decided when the run was made."""
        deadline = None if self.deadline is None else max(self.deadline - time.time(), 1e-3)
        seed = self.seed if ask.seed is None else ask.seed
        return dataclasses.replace(ask, seed=seed, deadline=deadline, caller=Caller.load(self.caller))


class Lasting(Protocol):
    """What the requests of all such APIs have."""

    @property
    def stream(self) -> bool | None:
        """Whether the events are wanted."""
        ...

    @property
    def deadline_seconds(self) -> float | None:
        """How long it may take."""
        ...

    @property
    def webhook_url(self) -> str | None:
        """Who is told of the end."""
        ...


class Durable:
    """The stored runs of one API, under `path`; errors call one a `noun`, and `opener` reads it."""

    def __init__(self, desk: Desk, store: Store, background: Background, path: str, noun: str, opener: Opener) -> None:
        self._desk, self._store, self._background, self._path, self._noun = desk, store, background, path, noun
        background.openers[path] = opener

    def add_routes(self, routes: APIRouter, deleted: str) -> None:
        """What can be done with a run that is there; `deleted` is the type of object that says it no longer is."""
        named, path = f"{self._noun}_id", f"{self._path}/{{{self._noun}_id}}"
        told: dict[str, Any] = {"response_class": Response, "responses": ERRORS}

        @routes.get(path, openapi_extra=parameters(named, FollowQuery), **told)
        async def retrieve(request: Request) -> Response:
            """What there is, or the events of a run in the background from any number on."""
            query, stored = FollowQuery.read(request.query_params), await self.stored(request)
            return self._follow(request, stored, query.starting_after) if query.stream else json_response(stored.body)

        @routes.delete(path, openapi_extra=parameters(named), **told)
        async def delete(request: Request) -> Response:
            """Forget it; what runs is cancelled before."""
            stored = await self.stored(request)
            if stored.order and not stored.done:
                await self._background.cancel(stored.id)
            await self._store.delete(stored.id)
            return json_response(orjson.dumps({"id": stored.id, "object": deleted, "deleted": True}))

        @routes.post(path + "/cancel", openapi_extra=parameters(named), **told)
        async def cancel(request: Request) -> Response:
            """End what runs in the background, wherever it runs."""
            stored = await self.stored(request)
            if not stored.order:
                raise InvalidRequest("only what runs in the background can be cancelled", param=named)
            if not stored.done:
                await self._background.cancel(stored.id)
            return json_response((await self.stored(request)).body)

    async def create(self, request: Request, stored: Stored, sent: Mapping[str, Any], asked: Lasting) -> Response:
        """Let a run begin, and answer as the request wants: with the object, its events, or the end of it.

        With an idempotency key whoever comes again gets the same run, and nothing is begun twice.
        """
        stream, webhook, deadline = bool(asked.stream), asked.webhook_url, asked.deadline_seconds
        if webhook is not None:
            self._background.check_webhook(webhook)
        key = _Key.of(request, self._path, sent, stored)
        if key is not None and (known := await key.claim(self._store)):
            return await self._answer(request, known, stream)
        until, caller = deadline and time.time() + deadline, Caller.of(request).dump()
        order = Order(self._path, sent, int(time.time()), None, until, caller, dict(passed_on()), webhook or "")
        try:
            stored = await self._begin(dataclasses.replace(stored, order=order.dump()), order)
        except BaseException:
            if key is not None:
                await self._store.forget(key.place)
            raise
        if key is not None:
            with suppress(Purged):  # its tenant has been deleted meanwhile, and the run with it
                await self._store.keep(key.place, key.value, _KEY_SECONDS, labels=stored.labels)
        return await self._answer(request, stored, stream)

    async def _begin(self, stored: Stored, order: Order) -> Stored:
        """Let a run go on by itself. What is claimed for it is kept with it: see `Permit`."""
        worker = self._background.worker(self._background.open(stored))
        permit = worker.generation.permit
        await permit.claim()
        try:
            seed = worker.generation.order.seed
            order = dataclasses.replace(order, seed=seed, caller=permit.caller.dump())
            labels = (*stored.labels, *worker.generation.labels)
            stored = dataclasses.replace(stored, order=order.dump(), body=worker.body(), labels=labels)
            await self._background.start(stored, worker)
        except BaseException:
            await permit.settle(0)
            raise
        return stored

    async def stored(self, request: Request) -> Stored:
        """What the path names. Raises `ApiError` where there is nothing that this caller may see."""
        named, noun = f"{self._noun}_id", self._noun
        id = request.path_params[named]
        found = await self._store.get(id) if id.startswith(PREFIXES[self._path]) else None
        if found is None or found.owner != owner(request):
            raise ApiError(404, f"there is no {noun} {id[:80]!r} here", code=f"{noun}_not_found", param=named)
        return found

    def _follow(self, request: Request, stored: Stored, after: int) -> EventStream:
        """The events of a run, numbered above `after`; `Last-Event-ID` says the same as `after`."""
        if not stored.order:
            raise InvalidRequest("only what ran in the background can be streamed again", param="stream")
        last = request.headers.get("last-event-id", "")
        if last.isascii() and last.isdecimal() and len(last) < 20:
            after = max(after, int(last))
        return self._desk.stream(_numbered(self._told(stored), after), _moved)

    async def _answer(self, request: Request, stored: Stored, stream: bool) -> Response:
        if stream:
            return self._follow(request, stored, -1)
        if stored.background:
            return json_response(stored.body)
        return await self._desk.whole(request, self._whole(stored))

    async def _whole(self, stored: Stored) -> bytes:
        work = self._background.open(stored)
        recording = Recording(self._store.follow(stored.id, -1), work.ask.n)
        writer = work.writer(recording)
        async with aclosing(tell(recording, writer)) as told:
            async for _ in told:
                pass
        return writer.body()

    async def _told(self, stored: Stored) -> AsyncGenerator[bytes, None]:
        """All events of a run; of one that failed the last one says so."""
        work, begun = self._background.open(stored), False
        recording = Recording(self._store.follow(stored.id, -1), work.ask.n)
        writer = work.writer(recording)
        try:
            async with aclosing(tell(recording, writer)) as told:
                async for data in told:
                    yield data
                    begun = True
        except (Failed, Cancelled, Gone) as error:
            # a client that waits for its answer is told by the status, as without a log
            if not begun and not stored.background:
                raise
            yield writer.failure(error)


@dataclasses.dataclass(frozen=True, slots=True)
class _Key:
    """An idempotency key in the store: where it stands, and which run of which request it is for."""

    place: str
    value: bytes

    @classmethod
    def of(cls, request: Request, path: str, sent: Mapping[str, Any], stored: Stored) -> _Key | None:
        """The request's key, if it has one."""
        given = request.headers.get(IDEMPOTENCY_KEY)
        if given is None:
            return None
        if not 0 < len(given) <= _KEY_LENGTH:
            raise InvalidRequest(f"an idempotency key has 1 to {_KEY_LENGTH} characters", param=IDEMPOTENCY_KEY)
        asked = orjson.dumps([path, sent], option=orjson.OPT_SORT_KEYS)
        place = hashlib.sha256(f"{stored.owner}/{given}".encode()).hexdigest()
        return cls(f"idempotency/{place}", orjson.dumps([stored.id, hashlib.sha256(asked).hexdigest()]))

    async def claim(self, store: Store) -> Stored | None:
        """The run that was made under the key before; None where this request is the first."""
        if await store.keep(self.place, self.value, _CLAIMED_SECONDS, new=True):
            return None
        id, digest = orjson.loads(await store.value(self.place) or b'["", ""]')
        if digest != orjson.loads(self.value)[1]:
            message = "this idempotency key was used for another request"
            raise ApiError(400, message, code="idempotency_key_reused", param=IDEMPOTENCY_KEY)
        found = await store.get(id)
        if found is None:
            message = "the first request with this idempotency key has not begun yet, or its run is forgotten"
            raise ApiError(409, message, code="idempotency_in_progress", param=IDEMPOTENCY_KEY)
        return found


def refuse_webhook(url: str | None) -> None:
    """Raises `InvalidRequest` for a webhook of a request that waits for its answer itself."""
    if url is not None:
        raise InvalidRequest("webhook_url is for what runs in the background", param="webhook_url")


def json_response(content: bytes) -> Response:
    """A body that is JSON already."""
    return Response(content, media_type="application/json")


async def _numbered(told: AsyncGenerator[bytes, None], after: int) -> AsyncGenerator[bytes, None]:
    """Events from the one behind `after` on, each with its number as the id that `Last-Event-ID` repeats."""
    number = -1
    async with aclosing(told) as stream:
        async for data in stream:
            shown: list[bytes] = []
            for event in data.split(b"\n\n")[:-1]:
                number += 1
                if number > after:
                    shown.append(b"id: %d\n%b\n\n" % (number, event))
            if shown:
                yield b"".join(shown)


def _moved(error: Exception) -> bytes:
    """What a reader is told who had better come again: the run goes on, here or elsewhere."""
    if isinstance(error, Refused | StoreUnavailable):
        return b": come again with Last-Event-ID\n\n"
    return failure_event(error)
