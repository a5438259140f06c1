"""Puts the server together. Rule: everything is passed in or made here; two apps in one process share nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI

from decoders.core.task import Model
from server.api import anthropic, chat, completions, decoders, errors, health, models, responses, tokenize
from server.api.desk import Desk
from server.background import Background
from server.connections import Connections
from server.envelope import Envelope
from server.metrics import Metrics
from server.service import Service
from server.settings import Settings
from server.store.base import ResponseStore
from server.store.memory import MemoryStore


def create_app(
    settings: Settings,
    served: Mapping[str, Model],
    connections: Connections | None = None,
    store: ResponseStore | None = None,
) -> FastAPI:
    """The app over models that are ready; it closes their engines when it ends.

    Whoever runs the app passes `connections` in order to drain them. Responses are kept in memory where there is no
    other `store`.
    """
    connections = Connections(settings.max_requests) if connections is None else connections
    background = Background(connections)
    if store is None:
        store = MemoryStore(
            limit=settings.stored_responses, seconds=settings.stored_seconds, max_bytes=settings.stored_bytes
        )
    service = Service(served, decoder=settings.decoder, max_budget=settings.max_budget, effort=settings.effort)
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        yield
        await background.aclose()
        for model in served.values():
            await model.engine.aclose()

    app = FastAPI(
        title="longthink",
        summary="Decoders that turn a token budget into a better answer, behind the OpenAI API.",
        version=health.installed_version(),
        lifespan=lifespan,
    )
    app.add_middleware(Envelope, max_body_bytes=settings.max_body_bytes)
    errors.install(app)
    desk = Desk(service, connections, metrics, settings.keep_alive_seconds)
    app.include_router(chat.router(desk, reasoning_content=settings.reasoning_content))
    app.include_router(completions.router(desk))
    app.include_router(responses.router(desk, store, background))
    app.include_router(anthropic.router(desk))
    app.include_router(tokenize.router(desk))
    app.include_router(models.router(service, int(time.time())))
    app.include_router(decoders.router(service))
    app.include_router(health.router(service, connections, metrics))
    return app
