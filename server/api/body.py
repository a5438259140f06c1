"""Reading JSON bodies. Rule: what is not UTF-8 JSON of an acceptable size is the client's mistake and said to be so."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import Request
from starlette.requests import ClientDisconnect

from server.api.errors import ApiError
from server.connections import ClientLeft

DEPTH = 200
"""Levels of objects and arrays in a body: what reads them further on is recursive."""


async def read_json(request: Request) -> Any:
    """The decoded body. Raises `ApiError` for other media types and for what is not JSON.

    A browser may send text/plain across sites without asking first; asking for JSON keeps a foreign page from using a
    server on the reader's own machine.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        said = kind or "missing"
        raise ApiError(415, f"the content-type is {said}: send application/json", code="unsupported_media_type")
    try:
        raw = await request.body()
    except ClientDisconnect as error:
        raise ClientLeft("the client closed the connection before its request was there") from error
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"the body is not valid JSON: {error}"[:500], code="invalid_json") from error
    if raw.count(b"{") + raw.count(b"[") > DEPTH and _deeper(body, DEPTH):
        raise ApiError(400, f"the body is nested more than {DEPTH} levels deep", code="invalid_json")
    return body


def _deeper(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        level = [
            inner
            for node in level
            for inner in (node.values() if isinstance(node, dict) else node if isinstance(node, list) else ())
        ]
    return bool(level)
