"""What operators do to a running server: upstream hosts are drained, tenants deleted. Rule: only with the admin key.

Without such a key in the settings these routes do not exist.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, ValidationError

from server.api import errors
from server.api.body import read_json
from server.api.errors import ApiError
from server.api.openapi import ERRORS, BytesRoute, parameters, request_body
from server.store.base import Store
from server.tenants import Served
from server.upstreams import Upstreams


class HostRequest(BaseModel):
    """Names a host by its base URL, as /admin/upstreams shows it."""

    model_config = ConfigDict(extra="forbid")

    url: str


def router(upstreams: Upstreams, models: Served, store: Store, key: str) -> APIRouter:
    """The routes, for whoever sends `key` as a bearer token or as `x-api-key`."""
    routes = APIRouter(route_class=BytesRoute, prefix="/admin")
    # digests are of equal length, so that the comparison takes as long for every guess
    expected = _digest(key)
    told: dict[str, Any] = {"response_class": Response, "responses": ERRORS}

    @routes.get("/upstreams", **told)
    async def show(request: Request) -> Response:
        """All upstream hosts, how they fare and what they have done."""
        _check(request, expected)
        return _hosts(upstreams)

    @routes.post("/upstreams/drain", openapi_extra=request_body(HostRequest), **told)
    async def drain(request: Request) -> Response:
        """Give a host no further calls; those in progress go on."""
        _check(request, expected)
        upstreams.drain(await _url(request), drained=True)
        return _hosts(upstreams)

    @routes.post("/upstreams/undrain", openapi_extra=request_body(HostRequest), **told)
    async def undrain(request: Request) -> Response:
        """Give a drained host calls again."""
        _check(request, expected)
        upstreams.drain(await _url(request), drained=False)
        return _hosts(upstreams)

    _add_tenants(routes, models, store, expected)
    return routes


def _add_tenants(routes: APIRouter, models: Served, store: Store, expected: bytes) -> None:
    told: dict[str, Any] = {"response_class": Response, "responses": ERRORS}

    @routes.get("/tenants", **told)
    async def show_tenants(request: Request) -> Response:
        """All tenants, by the names of their models."""
        _check(request, expected)
        data = [{"id": name, "object": "tenant"} for name in models.tenants()]
        return _json({"object": "list", "data": data})

    @routes.delete("/tenants/{tenant:path}", openapi_extra=parameters("tenant"), **told)
    async def delete_tenant(request: Request) -> Response:
        """Take a tenant, such as `base@name`, out of the merged model, and forget all that is kept of it.

        Once this has answered, nothing that was made with the tenant's data is served or kept here.
        """
        _check(request, expected)
        name = request.path_params["tenant"]
        purged = await models.delete(name, store)
        return _json({"id": name, "object": "tenant", "deleted": True, "purged": purged})


def _check(request: Request, expected: bytes) -> None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
    if not hmac.compare_digest(_digest(given), expected):
        raise ApiError(401, "the admin key is missing or wrong", code="invalid_api_key")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


async def _url(request: Request) -> str:
    try:
        return HostRequest.model_validate(await read_json(request)).url
    except ValidationError as error:
        raise errors.invalid(error, HostRequest.model_fields) from error


def _hosts(upstreams: Upstreams) -> Response:
    data = [dataclasses.asdict(host) for host in upstreams.all()]
    return _json({"object": "list", "data": data})


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
