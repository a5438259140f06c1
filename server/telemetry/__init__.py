"""Traces of what the server does, for OpenTelemetry. Rule: without a collector nothing of it is imported or done.

A request is a span, and so is each step of its decoder and each durable run on each replica that has it. No span holds
a word of a prompt or an answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from starlette.types import Scope

from decoders.core.run import Run
from server.context import Origin
from server.service import Order

if TYPE_CHECKING:
    from server.settings import Settings

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class Tracing(Protocol):
    """Makes the spans."""

    def request(
        self, scope: Scope, headers: Mapping[str, str], whom: Origin
    ) -> AbstractContextManager[Callable[[int], None]]:
        """The span of a request, which continues the trace of `headers`; what is yielded takes the status."""
        ...

    def run(self, id: str, trace: Mapping[str, str], holders: int, steps: int) -> AbstractContextManager[None]:
        """The span of a durable run on this replica; for later holders `trace` and `steps` are what is behind it."""
        ...

    def steps(self, order: Order, runs: Sequence[Run]) -> AbstractContextManager[None]:
        """The spans of a generation's steps, one after the other as they happen."""
        ...

    async def aclose(self) -> None:
        """Send what is left, for a few seconds at most."""
        ...


def open_tracing(settings: Settings, version: str) -> Tracing | None:
    """As the operator wants it. Raises `ValueError` where a library is missing."""
    named = settings.otlp_endpoint or any(os.environ.get(name) for name in _ENDPOINTS)
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if not named or disabled or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    try:
        spans = import_module("server.telemetry.spans")
    except ModuleNotFoundError as error:
        raise ValueError(f"traces need {error.name}: pip install 'longthink[telemetry]'") from error
    headers = {name: value.get_secret_value() for name, value in settings.otlp_headers.items()}
    tracing: Tracing = spans.Spans(spans.provider(settings.otlp_endpoint, headers, version))
    return tracing
