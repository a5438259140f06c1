"""Errors on the wire, in OpenAI's form. Rule: every response that is no success has this body, whatever its cause.

Paths of Anthropic's API have the same in Anthropic's form.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.responses import Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from decoders.core.errors import (
    EngineUnavailable,
    EnvironmentFailed,
    InvalidOutput,
    InvalidRequest,
    LongThinkError,
    NotKept,
    UnknownModel,
)
from server.admission.refusals import Forbidden, RateLimited, Unauthorized
from server.connections import ClientLeft, Refused
from server.report import Cancelled, Failed, Gone
from server.store.base import Purged, StoreUnavailable

_LONGEST = 1000

CLIENT_LEFT = 499
"""nginx's status for a request whose client has gone; it is logged, nobody receives it."""

_HTTP = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large", 415: "unsupported_media_type"}
_PYDANTIC = {"missing": "missing_required_parameter", "extra_forbidden": "unknown_parameter"}


class ApiError(LongThinkError):
    """An error that only the HTTP layer knows: a status with the fields of the body."""

    def __init__(self, status: int, message: str, *, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code, param


_OF_REQUESTS: Mapping[type[InvalidRequest], int] = {UnknownModel: 404, Forbidden: 403, InvalidRequest: 400}

# in this order: those before their bases
_OTHERS: Mapping[type[LongThinkError], tuple[int, str]] = {
    # no 5xx: official clients repeat those by themselves, and every repetition spends the budget again
    InvalidOutput: (422, "invalid_structured_output"),
    Gone: (404, "response_not_found"),
    Cancelled: (409, "response_cancelled"),
    Unauthorized: (401, "invalid_api_key"),
    ClientLeft: (CLIENT_LEFT, "client_closed_request"),
    Purged: (404, "model_not_found"),
    NotKept: (409, "contribution_not_kept"),
    StoreUnavailable: (503, "store_unavailable"),
    Refused: (503, "overloaded"),
    EngineUnavailable: (503, "engine_unavailable"),
    EnvironmentFailed: (502, "environment_failed"),
    LongThinkError: (500, "engine_error"),
}


def describe(error: Exception) -> tuple[int, dict[str, Any]]:
    """Status and body for an error; foreign errors say nothing about the inside of the server."""
    match error:
        case ApiError():
            return error.status, body(str(error), _kind(error.status), error.param, error.code)
        case Failed():
            told = error.error
            return told["status"], body(told["message"], told["type"], told["param"], told["code"])
        case RateLimited():
            return 429, body(str(error), error.kind, None, "rate_limit_exceeded")
        case InvalidRequest():
            status = next(status for kind, status in _OF_REQUESTS.items() if isinstance(error, kind))
            return status, body(str(error), _kind(status), error.param, error.code)
        case LongThinkError():
            status, code = next(told for kind, told in _OTHERS.items() if isinstance(error, kind))
            message = "the store cannot be reached now" if isinstance(error, StoreUnavailable) else str(error)
            return status, body(message, _kind(status), None, code)
        case HTTPException():
            code = _HTTP.get(error.status_code, "invalid_request")
            return error.status_code, body(str(error.detail), "invalid_request_error", None, code)
        case _:
            return 500, body("the server failed to answer; its log says why", "server_error", None, "internal_error")


def _kind(status: int) -> str:
    return "invalid_request_error" if status < 500 else "server_error"


def body(message: str, kind: str, param: str | None, code: str | None) -> dict[str, Any]:
    """OpenAI's error object; a message that repeats what the client sent does so within reason."""
    if len(message) > _LONGEST:
        message = message[:_LONGEST] + "…"
    param = param and param[:_LONGEST]
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


_ANTHROPIC = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def anthropic(error: Exception) -> tuple[int, dict[str, Any]]:
    """Status and body for an error in Anthropic's form; `param` and `code` are additions."""
    status, content = describe(error)
    kind = _ANTHROPIC.get(status, "invalid_request_error" if status < 500 else "api_error")
    return status, {"type": "error", "error": {**content["error"], "type": kind}}


def invalid(error: ValidationError, fields: Iterable[str]) -> InvalidRequest:
    """The first thing that pydantic found wrong, with the field written as OpenAI does: `messages[0].role`."""
    first = error.errors(include_url=False, include_input=False)[0]
    param = path(first["loc"])
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(first["loc"][-1]), list(fields), 1) if len(first["loc"]) == 1 else []
        message = f"unknown parameter {param}" + (f": did you mean {near[0]}?" if near else "")
    else:
        message = f"{param}: {first['msg']}"
    return InvalidRequest(message, param=param or None, code=_PYDANTIC.get(first["type"], "invalid_value"))


def path(loc: Iterable[int | str]) -> str:
    """A location as pydantic gives it, as text."""
    text = ""
    for part in loc:
        if isinstance(part, str) and part.startswith("<"):
            continue  # which of several models was tried
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text[:200]


def respond(error: Exception, path: str, headers: Mapping[str, str] | None = None) -> Response:
    """The whole response for an error on this path."""
    status, content = (anthropic if path.startswith("/v1/messages") else describe)(error)
    extra = dict(headers or {})
    if status == 503:
        extra["retry-after"] = "1"
    return Response(orjson.dumps(content), status, extra, "application/json")


def install(app: FastAPI, refused: Callable[[Exception], None]) -> None:
    """Make every error of the app come out in this form; `refused` is told of each."""

    async def handle(request: Request, error: Exception) -> Response:
        refused(error)
        return respond(error, request.url.path, getattr(error, "headers", None))

    for kind in (LongThinkError, HTTPException):
        app.add_exception_handler(kind, handle)
