"""Puts the server together. Rule: everything is passed in or made here; two apps in one process share nothing."""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI

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
    tracing = open_tracing(settings, health.installed_version())
    upstreams = Upstreams(served.values())
    metrics = Metrics(health.installed_version(), upstreams.all)
    kept = measured(store or open_store(settings), metrics.store)
    service = Service(
        served,
        decoder=settings.decoder,
        max_budget=settings.max_budget,
        effort=settings.effort,
        environments=Environments(environments or {}),
        aliases=settings.aliases,
        memory=HiddenTurns(kept, settings.hidden_seconds),
        media_hosts=settings.media_hosts,
    )
    service.check_aliases()
    cache = Cache.of(settings, kept, served)
    admission = Admission(Limits(kept), Queue(settings.max_running, settings.max_waiting))
    connections.on_drain(admission.queue.close)
    metrics.admission.queue.set_function(lambda: admission.queue.waiting)
    desk = Desk(service, connections, metrics, settings.keep_alive_seconds, admission, cache, tracing)
    webhooks = Webhooks.of(settings)
    holder = f"{socket.gethostname()}/{uuid.uuid4().hex[:12]}"
    background = Background(kept, connections, desk.generation, holder, webhooks, metrics.runs, tracing)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        beat = asyncio.create_task(background.run(), name="leases")
        yield
        beat.cancel()
        await asyncio.gather(beat, return_exceptions=True)
        await background.aclose()
        for model in served.values():
            await model.engine.aclose()
        await webhooks.aclose()
        await admission.limits.aclose()
        await kept.aclose()
        if tracing is not None:
            await tracing.aclose()

    app = FastAPI(
        title="longthink",
        summary="Decoders that turn a token budget into a better answer, behind the OpenAI API.",
        version=health.installed_version(),
        lifespan=lifespan,
        redirect_slashes=False,  # a redirect would lead to whatever the Host header says
    )
    app.add_middleware(
        Gate, keys=Keys(settings.keys) if settings.keys else None, limits=admission.limits, metrics=metrics.admission
    )
    app.add_middleware(
        Envelope, max_body_bytes=settings.max_body_bytes, log_requests=settings.log_requests, tracing=tracing
    )
    errors.install(app, metrics.admission.refused)
    app.include_router(chat.router(desk, kept, background, reasoning_content=settings.reasoning_content))
    app.include_router(completions.router(desk))
    app.include_router(responses.router(desk, kept, background))
    app.include_router(anthropic.router(desk))
    app.include_router(tokenize.router(desk))
    app.include_router(models.router(service, int(time.time())))
    app.include_router(decoders.router(service))
    app.include_router(environments_api.router(service.environments))
    app.include_router(health.router(service, connections, metrics, kept))
    if settings.admin_key is not None:
        app.include_router(admin.router(upstreams, settings.admin_key.get_secret_value()))
    return app
