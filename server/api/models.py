"""GET /v1/models: every served model, alone and with each decoder, so that any client can pick one."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from decoders import registry
from server.admission.caller import Caller
from server.api.openapi import ERRORS
from server.service import Service


def router(service: Service, created: int) -> APIRouter:
    """The routes; `created` is the Unix time that all models carry."""
    routes = APIRouter()

    def entry(name: str, decoder: str | None) -> dict[str, Any]:
        return {
            "id": f"{name}:{decoder}" if decoder else name,
            "object": "model",
            "created": created,
            "owned_by": "longthink",
            "parent": name if decoder else None,
            "decoder": decoder or service.decoder,
            "max_model_len": service.models[name].engine.context_length,
        }

    def named(alias: str) -> dict[str, Any]:
        base, decoder = service.resolve(alias)
        return {**entry(base, decoder), "id": alias, "parent": base}

    @routes.get("/v1/models", response_class=Response)
    async def list_models(request: Request) -> Response:
        """All models, each with all decoders as `model:decoder`, the aliases, and tenants that the key may use."""
        allowed = Caller.of(request).terms.models
        data = [entry(name, decoder) for name in service.models for decoder in (None, *registry())]
        data += [named(name) for name in service.aliases]
        tenants = [name for name in service.models.tenants() if allowed is None or name in allowed]
        data += [{**entry(name, None), "parent": service.models.base(name)} for name in tenants]
        return _json({"object": "list", "data": data})

    @routes.get("/v1/models/{model:path}", response_class=Response, responses={404: ERRORS[404]})
    async def retrieve_model(model: str) -> Response:
        """One model."""
        return _json(named(model) if model in service.aliases else entry(*service.resolve(model)))

    return routes


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
