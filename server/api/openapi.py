"""What FastAPI cannot find out by itself, because the routes read and write bytes. Rule: schemas stand in place."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

_ERROR: dict[str, Any] = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
            "required": ["message", "type", "param", "code"],
        }
    },
    "required": ["error"],
}

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {"application/json": {"schema": _ERROR}}}
    for status, text in {
        400: "A field is wrong; `param` names it.",
        404: "There is no such model.",
        413: "The body is too large.",
        415: "The body is not JSON.",
        422: "The answer has not the form that response_format asks for.",
        503: "Too many requests, not ready, or shutting down.",
    }.items()
}


def anthropic_errors() -> dict[int | str, dict[str, Any]]:
    """The same in Anthropic's form."""
    schema = {
        "type": "object",
        "properties": {"type": {"const": "error"}, **_ERROR["properties"]},
        "required": ["type", "error"],
    }
    return {status: {**error, "content": {"application/json": {"schema": schema}}} for status, error in ERRORS.items()}


class BytesRoute(APIRoute):
    """A documented route whose function takes the request and returns the response, with nothing injected or parsed.

    That is a third of what a short request costs in FastAPI.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The function itself."""
        handler: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return handler


def request_body(model: type[BaseModel]) -> dict[str, Any]:
    """The description of a JSON body."""
    schema = model.model_json_schema()
    schema = _inline(schema, schema.pop("$defs", {}))
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def parameters(path: str, query: type[BaseModel] | None = None) -> dict[str, Any]:
    """The description of a path's parameter and of those behind the question mark."""
    schema = query.model_json_schema() if query else {"properties": {}}
    fields = _inline(schema["properties"], schema.get("$defs", {}))
    found = [{"name": path, "in": "path", "required": True, "schema": {"type": "string"}}]
    found += [{"name": name, "in": "query", "required": False, "schema": field} for name, field in fields.items()]
    return {"parameters": found}


def _inline(node: Any, definitions: dict[str, Any]) -> Any:
    """The schema with every reference replaced by what it refers to."""
    if isinstance(node, list):
        return [_inline(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inline(definitions[node["$ref"].rpartition("/")[2]], definitions)
    return {key: _inline(value, definitions) for key, value in node.items()}
