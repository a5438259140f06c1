"""What a host's failure means for a call: try again, or which typed error. Rule: no message ever contains a key.

`Setback` is the one exception that stays inside this package: a try failed before its first token.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from decoders.core.errors import ContextOverflow, EngineError, EngineUnavailable, InvalidRequest, LongThinkError

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_REFUSED = frozenset({401, 403})
_LONGEST = 600
"""Characters of an upstream's message that are passed on."""

_OVERFLOW = re.compile(r"context[_ ](length|size|window)|maximum (sequence|model) length", re.IGNORECASE)
_CONTEXT = re.compile(r"context length (?:is|of) (\d+)")
_INPUT = re.compile(r"(\d+) (?:tokens )?(?:in the (?:messages|prompt)|from the input|input tokens)")
_COMPLETION = re.compile(r"at most (\d+) (?:completion|output) tokens")


class Setback(Exception):
    """A try came to nothing before its first token.

    `wait` is how many seconds the host asked for; `fault` says that the host is to blame and not only busy, `down` that
    nobody listens there.
    """

    def __init__(self, reason: str, *, wait: float | None = None, fault: bool = True, down: bool = False) -> None:
        super().__init__(reason)
        self.wait, self.fault, self.down = wait, fault, down


def status_error(status: int, data: bytes, headers: Mapping[str, str]) -> LongThinkError | Setback:
    """The exception for a response that is not a success."""
    error = _error_object(data)
    text = _message(error) or data[:_LONGEST].decode("utf-8", "replace").strip() or "no message"
    if status in RETRIED:
        return Setback(f"HTTP {status}: {text}", wait=retry_after(headers), fault=status >= 500)
    return _refusal(status, error, text)


def refused(found: object, param: str) -> InvalidRequest:
    """The exception for what a host refused as the caller's mistake, with its own words."""
    error = found.get("error", found.get("detail", found)) if isinstance(found, dict) else found
    text = _message(error if isinstance(error, dict) else {"message": str(error)})
    return InvalidRequest(text or "the upstream refused it", param=param)


def event_error(error: object, *, begun: bool) -> LongThinkError | Setback:
    """The exception for an error that came as an event of a stream."""
    found = error if isinstance(error, dict) else {"message": str(error)}
    text = _message(found) or "the upstream reported an error without a message"
    code = found.get("code")
    status = code if isinstance(code, int) and not isinstance(code, bool) else 500
    if begun:
        return EngineError(text)
    if _is_overflow(found, text) or (400 <= status < 500 and status not in RETRIED):
        return _refusal(status, found, text)
    return Setback(text, fault=status >= 500)


def _refusal(status: int, error: Mapping[str, Any], text: str) -> LongThinkError:
    if status in _REFUSED:
        return EngineUnavailable(f"the upstream refused the API key (HTTP {status})")
    param = error.get("param")
    param = param if isinstance(param, str) else None
    if _is_overflow(error, text):
        return ContextOverflow(text, param=param if param == "prompt" else "messages")
    if 400 <= status < 500:
        code = error.get("code")
        return InvalidRequest(text, param=param, code=code if isinstance(code, str) else None)
    return EngineUnavailable(f"HTTP {status}: {text}")


def _is_overflow(error: Mapping[str, Any], text: str) -> bool:
    return error.get("code") == "context_length_exceeded" or (
        bool(_OVERFLOW.search(text)) or error.get("type") == "exceed_context_size_error"
    )


def _error_object(data: bytes) -> dict[str, Any]:
    """OpenAI's `{"error": {…}}`, its content alone as older vLLM sends it, or FastAPI's `{"detail": …}`."""
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(found, dict):
        return {}
    error = found.get("error", found.get("detail", found))
    return error if isinstance(error, dict) else {"message": error}


def _message(error: Mapping[str, Any]) -> str:
    text = error.get("message")
    if text is None:
        return ""
    return (text if isinstance(text, str) else orjson.dumps(text).decode())[:_LONGEST]


def room(message: str) -> int | None:
    """How many completion tokens an upstream would have accepted, read from its complaint about too many."""
    if limit := _COMPLETION.search(message):
        return int(limit[1])
    context, size = _CONTEXT.search(message), _INPUT.search(message)
    return int(context[1]) - int(size[1]) if context and size else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date; None without one that can be read."""
    text = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(text)) if text[:1].isdigit() else _until(text)
    except (ValueError, TypeError, OverflowError):
        return None


def _until(text: str) -> float | None:
    return max(0.0, parsedate_to_datetime(text).timestamp() - time.time()) if text else None


def backoff(attempt: int, first: float, limit: float, asked: float | None) -> float:
    """The wait after the given attempt (0 the first): exponential with full jitter, or a little more than asked for."""
    if asked is not None:
        return min(asked + random.uniform(0.0, first), limit)
    return random.uniform(0.0, min(limit, first * 2.0**attempt))
