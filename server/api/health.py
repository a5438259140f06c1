"""How operators see the server: /health the process lives, /ready it takes requests, /version, /metrics."""

from __future__ import annotations

import asyncio
from importlib.metadata import PackageNotFoundError, version

import orjson
from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from server.api.openapi import ERRORS
from server.connections import Connections, Refused
from server.metrics import Metrics
from server.service import Service
from server.store.base import Store


def router(service: Service, connections: Connections, metrics: Metrics, store: Store) -> APIRouter:
    """The routes."""
    routes = APIRouter()

    @routes.get("/health", response_class=Response)
    async def health() -> Response:
        """The process lives."""
        return _json({"status": "ok"})

    @routes.get("/ready", response_class=Response, responses={503: ERRORS[503]})
    async def ready() -> Response:
        """The engines answer and the server is not about to stop.

        A store that cannot be reached is told, but is no reason to send requests elsewhere: most of them need none.
        """
        if connections.draining:
            raise Refused("the server is shutting down")
        answers = await asyncio.gather(*(model.engine.ready() for model in service.models.values()))
        silent = [name for name, answer in zip(service.models, answers, strict=True) if not answer]
        if silent:
            raise Refused(f"not ready: {', '.join(silent)}")
        return _json({"status": "ready", "store": "ready" if await store.ready() else "unreachable"})

    @routes.get("/version", response_class=Response)
    async def show_version() -> Response:
        """The version of longthink."""
        return _json({"version": installed_version()})

    @routes.get("/metrics", response_class=Response)
    async def show_metrics() -> Response:
        """Prometheus metrics."""
        return Response(metrics.text(), headers={"content-type": CONTENT_TYPE_LATEST})

    return routes


def installed_version() -> str:
    """The version that is installed; a checkout that nobody has installed has none."""
    try:
        return version("longthink")
    except PackageNotFoundError:
        return "0.0.0"


def _json(content: dict[str, str]) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
