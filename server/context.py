"""On whose behalf something is done: for log lines, spans, and what upstreams are told.

Rule: set where a request or a run comes in, read anywhere; this module imports nothing of ours. A task inherits from
the one that makes it, so the tasks of a request's decoder, and the run that outlives the request, know their origin.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[\x21-\x7e]*)?")
_TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}")
_NOTHING: Mapping[str, str] = {}


@dataclass(slots=True)
class Origin:
    """One request or run: `run` is the response's id, `key` that of the API key, `trace` that of the W3C trace."""

    request: str = ""
    run: str = ""
    model: str = ""
    decoder: str = ""
    key: str = ""
    trace: str = ""
    tokens: int = 0
    """Tokens generated for it so far."""


_ORIGIN: ContextVar[Origin | None] = ContextVar("origin", default=None)
_PASSED_ON: ContextVar[Mapping[str, str]] = ContextVar("passed_on", default=_NOTHING)


def origin() -> Origin:
    """Where the running task comes from; an empty one that nobody else sees where that is nowhere."""
    return _ORIGIN.get() or Origin()


@contextmanager
def on_behalf_of(whom: Origin) -> Generator[Origin, None, None]:
    """What is done inside, also in tasks that begin there, is done for this origin."""
    token = _ORIGIN.set(whom)
    try:
        yield whom
    finally:
        _ORIGIN.reset(token)


def named(id: str) -> str:
    """The id of the response that is being made, which the log repeats from now on."""
    origin().run = id
    return id


def pass_on(headers: Mapping[str, str]) -> None:
    """The trace headers of calls that the running task, and tasks that it makes, send to upstreams from now on."""
    _PASSED_ON.set(headers)


def passed_on() -> Mapping[str, str]:
    """The trace headers for a call to an upstream."""
    return _PASSED_ON.get()


def trace_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """The W3C trace context of a request's headers; empty where there is none or none that is valid."""
    parent, state = headers.get("traceparent", ""), headers.get("tracestate", "")
    if not _TRACEPARENT.fullmatch(parent):
        return _NOTHING
    return {"traceparent": parent, **({"tracestate": state} if _TRACESTATE.fullmatch(state) else {})}
