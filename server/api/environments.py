"""GET /v1/environments: what agents may act in here."""

from __future__ import annotations

import orjson
from fastapi import APIRouter
from fastapi.responses import Response

from server.environments import Environments


def router(environments: Environments) -> APIRouter:
    """The route."""
    routes = APIRouter()
    content = orjson.dumps(
        {"object": "list", "data": [{"id": name, "object": "environment"} for name in environments.names]}
    )

    @routes.get("/v1/environments", response_class=Response)
    async def list_environments() -> Response:
        """All environments that a request may name."""
        return Response(content, media_type="application/json")

    return routes
