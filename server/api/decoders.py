"""GET /v1/decoders: what there is to choose from, and with which options. Rule: all of it is read from the classes."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter
from fastapi.responses import Response

from decoders import Decoder, build, registry
from decoders.catalogue import describe
from server.service import Service


def router(service: Service) -> APIRouter:
    """The route. Raises `InvalidRequest` where a model's pack has defaults that a decoder does not take."""
    routes = APIRouter()
    entries = [_entry(name, cls, service) for name, cls in registry().items()]
    content = orjson.dumps({"object": "list", "data": entries})

    @routes.get("/v1/decoders", response_class=Response)
    async def list_decoders() -> Response:
        """All decoders with the JSON Schema of their options and each model's defaults."""
        return Response(content, media_type="application/json")

    return routes


def _entry(name: str, cls: type[Decoder], service: Service) -> dict[str, Any]:
    return {
        "object": "decoder",
        "id": name,
        **describe(cls),
        "default": name == service.decoder,
        "defaults": {model: build(name, {}, served.pack).model_dump() for model, served in service.models.items()},
    }
