"""Puts the server together. Rule: everything is passed in or made here; two apps in one process share nothing."""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import APIRouter, FastAPI

from decoders.core.task import Model
from decoders.environments.base import EnvironmentFactory
from server.admission.gate import Gate
from server.admission.keys import Keys
from server.admission.limits import Limits
from server.admission.permit import Admission
from server.admission.queue import Queue
from server.api import admin, anthropic, chat, completions, decoders, errors, health, models, responses, tokenize
from server.api import environments as environments_api
from server.api.desk import Desk
from server.background import Background
from server.cache import Cache
from server.connections import Connections
from server.envelope import Envelope
from server.environments import Environments
from server.hidden import HiddenTurns
from server.metrics import Metrics
from server.service import Service
from server.settings import Settings
from server.store import open_store
from server.store.base import Store
from server.store.measured import measured
from server.telemetry import open_tracing
from server.tenants import Departures
from server.upstreams import Upstreams
from server.webhooks import Webhooks


def create_app(
    settings: Settings,
    served: Mapping[str, Model],
    connections: Connections | None = None,
    store: Store | None = None,
    environments: Mapping[str, EnvironmentFactory] | None = None,
) -> FastAPI:
    """The app over models that are ready; it closes their engines when it ends.

    Whoever runs the app passes `connections` in order to drain them. Without a `store` it opens the one of the
    settings. `environments` are what requests may act in.
    """
    connections = Connections(settings.max_requests) if connections is None else connections
    parts = _Parts.make(settings, served, connections, store, environments or {})
    app = FastAPI(
        title="longthink",
        summary="Decoders that turn a token budget into a better answer, behind the OpenAI API.",
        version=health.installed_version(),
        lifespan=lambda app: parts.running(),
        redirect_slashes=False,  # a redirect would lead to whatever the Host header says
    )
    metrics, limits = parts.desk.metrics, parts.desk.admission.limits
    keys = Keys(settings.keys) if settings.keys else None
    app.add_middleware(Gate, keys=keys, limits=limits, metrics=metrics.admission)
    app.add_middleware(
        Envelope,
        max_body_bytes=settings.max_body_bytes,
        log_requests=settings.log_requests,
        tracing=parts.desk.tracing,
    )
    errors.install(app, metrics.admission.refused)
    for router in _routers(parts, settings):
        app.include_router(router)
    return app


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the routes stand on, and what must be closed after them."""

    desk: Desk
    store: Store
    background: Background
    webhooks: Webhooks
    upstreams: Upstreams

    @classmethod
    def make(
        cls,
        settings: Settings,
        served: Mapping[str, Model],
        connections: Connections,
        store: Store | None,
        environments: Mapping[str, EnvironmentFactory],
    ) -> _Parts:
        """As the settings want them; nothing runs yet."""
        upstreams = Upstreams(served.values())
        metrics = Metrics(health.installed_version(), upstreams.all)
        tracing = open_tracing(settings, health.installed_version())
        kept = measured(store or open_store(settings), metrics.store)
        service = Service(
            served,
            decoder=settings.decoder,
            max_budget=settings.max_budget,
            effort=settings.effort,
            environments=Environments(environments),
            aliases=settings.aliases,
            memory=HiddenTurns(kept, settings.hidden_seconds),
            media_hosts=settings.media_hosts,
        )
        service.check_aliases()
        admission = Admission(Limits(kept), Queue(settings.max_running, settings.max_waiting))
        connections.on_drain(admission.queue.close)
        metrics.admission.queue.set_function(lambda: admission.queue.waiting)
        cache = Cache.of(settings, kept, service.models)
        desk = Desk(service, connections, metrics, settings.keep_alive_seconds, admission, cache, tracing)
        webhooks = Webhooks.of(settings)
        holder = f"{socket.gethostname()}/{uuid.uuid4().hex[:12]}"
        background = Background(kept, connections, desk.generation, holder, webhooks, metrics.runs, tracing)
        return cls(desk, kept, background, webhooks, upstreams)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """From the first request to the last: runs are taken over, then everything is left in order."""
        departures = Departures(self.desk.service.models.tenanted, self.store)
        beats = [asyncio.create_task(self.background.run(), name="leases")]
        beats.append(asyncio.create_task(departures.run(), name="departures"))
        yield
        for beat in beats:
            beat.cancel()
        await asyncio.gather(*beats, return_exceptions=True)
        await self.background.aclose()
        for model in self.desk.service.models.values():
            await model.engine.aclose()
        await self.webhooks.aclose()
        await self.desk.admission.limits.aclose()
        await self.store.aclose()
        if self.desk.tracing is not None:
            await self.desk.tracing.aclose()


def _routers(parts: _Parts, settings: Settings) -> Iterator[APIRouter]:
    desk, service = parts.desk, parts.desk.service
    yield chat.router(desk, parts.store, parts.background, reasoning_content=settings.reasoning_content)
    yield completions.router(desk)
    yield responses.router(desk, parts.store, parts.background)
    yield anthropic.router(desk)
    yield tokenize.router(desk)
    yield models.router(service, int(time.time()))
    yield decoders.router(service)
    yield environments_api.router(service.environments)
    yield health.router(service, desk.connections, desk.metrics, parts.store)
    if settings.admin_key is not None:
        yield admin.router(parts.upstreams, service.models, parts.store, settings.admin_key.get_secret_value())
