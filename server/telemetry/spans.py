"""Spans by OpenTelemetry's library, with the names of its conventions for HTTP and generative AI.

Rule: spans of steps open and close where the step does, not where somebody reads of it; so they hold true times, and
what is called upstream belongs to the step that calls.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from starlette.types import Scope

from decoders.core.events import Delta, Event, StepFinished, StepStarted
from decoders.core.run import Run
from decoders.core.trace import Step, Trace
from server.connections import HandOver
from server.context import Origin, pass_on, passed_on
from server.service import Order
from server.store.base import LeaseLost

_PATH = "/v1/traces"
_LAST_SECONDS = 5.0
"""How long the last spans may take to leave."""
_UNTRACED = frozenset({"/health", "/ready", "/metrics"})
_W3C = TraceContextTextMapPropagator()


def provider(endpoint: str | None, headers: Mapping[str, str], version: str) -> TracerProvider:
    """What sends spans in batches from a thread of its own; without an endpoint OTEL_… variables name it."""
    if endpoint is not None and not endpoint.endswith(_PATH):
        endpoint = endpoint.rstrip("/") + _PATH
    ours = Resource.create({"service.name": "longthink", "service.version": version})
    made = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, headers=dict(headers) or None)))
    return made


class Spans:
    """All spans of one app."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("longthink")

    @contextmanager
    def request(
        self, scope: Scope, headers: Mapping[str, str], whom: Origin
    ) -> Generator[Callable[[int], None], None, None]:
        """The span of a request; see `Tracing`."""
        if scope["path"] in _UNTRACED:
            yield lambda status: None
            return
        context, attributes = _W3C.extract(headers), _http(scope, whom.request)
        with self._entered(scope["method"], SpanKind.SERVER, context, attributes) as span:
            whom.trace = trace.format_trace_id(span.get_span_context().trace_id)
            try:
                yield lambda status: _answered(span, status)
            finally:
                if (route := getattr(scope.get("route"), "path", None)) is not None:
                    span.update_name(f"{scope['method']} {route}")
                    span.set_attribute("http.route", route)

    @contextmanager
    def run(self, id: str, trace: Mapping[str, str], holders: int, steps: int) -> Generator[None, None, None]:
        """The span of a durable run; see `Tracing`."""
        context = _W3C.extract(trace) if trace else None
        attributes = {"longthink.run.id": id, "longthink.run.holders": holders}
        with self._entered("run", SpanKind.INTERNAL, context, attributes) as span:
            if holders > 1:
                span.add_event("taken over", {"longthink.run.replayed_steps": steps})
            yield

    def steps(self, order: Order, runs: Sequence[Run]) -> AbstractContextManager[None]:
        """The spans of steps; see `Tracing`."""
        return _Steps(self._tracer, order, runs)

    async def aclose(self) -> None:
        """Send what is left."""
        # a thread of its own: the loop's executor would be waited for at the end, however long a collector is silent
        thread = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        thread.start()
        await asyncio.to_thread(thread.join, _LAST_SECONDS)

    @contextmanager
    def _entered(
        self, name: str, kind: SpanKind, context: Context | None, attributes: Mapping[str, Any]
    ) -> Generator[Span, None, None]:
        """A span that is current inside, and whose trace upstreams are told."""
        before = passed_on()
        with self._tracer.start_as_current_span(
            name, context, kind, attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            pass_on(_carrier(span))
            try:
                yield span
            except Exception as error:
                _failed(span, error)
                raise
            finally:
                pass_on(before)


class _Steps(AbstractContextManager[None]):
    """The spans of one generation's steps, below the request's or run's."""

    def __init__(self, tracer: trace.Tracer, order: Order, runs: Sequence[Run]) -> None:
        self._tracer, self._order, self._runs = tracer, order, runs
        self._open: dict[tuple[int, str], Span] = {}
        self._silent: set[tuple[int, str]] = set()

    def __enter__(self) -> None:
        order = self._order
        self._span = trace.get_current_span()
        self._context = trace.set_span_in_context(self._span)
        # no gen_ai.usage here: whoever adds up usage over spans would count the steps twice
        self._span.set_attributes(
            {
                "gen_ai.request.model": order.model,
                "longthink.decoder": order.decoder.name,
                "longthink.budget": order.budget,
                "longthink.seed": order.seed,
                "longthink.choices": order.choices,
            }
        )
        for choice, run in enumerate(self._runs):
            run.outbox.listener = self._listener(choice, run.trace)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for run in self._runs:
            run.outbox.listener = None
        for span in self._open.values():
            _failed(span, error) if isinstance(error, Exception) else span.set_attribute("longthink.cancelled", True)
            span.end()
        self._span.set_attribute("longthink.tokens", sum(run.budget.spent for run in self._runs))
        if isinstance(error, Exception):
            _failed(self._span, error)

    def _listener(self, choice: int, trace: Trace) -> Callable[[Event], None]:
        def hear(event: Event) -> None:
            if isinstance(event, Delta):
                if (choice, event.key) in self._silent:
                    self._speaks((choice, event.key))
            elif isinstance(event, StepStarted):
                self._begin(choice, event)
            elif isinstance(event, StepFinished):
                self._end((choice, event.key), event, trace.steps[-1])

        return hear

    def _begin(self, choice: int, event: StepStarted) -> None:
        place = (choice, event.key)
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "longthink.step.key": event.key,
            "longthink.step.role": event.role,
            "longthink.step.final": event.final,
            "longthink.choice": choice,
        }
        span = self._tracer.start_span(f"step {event.role}", self._context, SpanKind.INTERNAL, attributes)
        self._open[place] = span
        self._silent.add(place)
        pass_on(_carrier(span))

    def _speaks(self, place: tuple[int, str]) -> None:
        self._silent.discard(place)
        self._open[place].add_event("first token")

    def _end(self, place: tuple[int, str], event: StepFinished, step: Step) -> None:
        self._silent.discard(place)
        span, done = self._open.pop(place), step.completion
        attributes: dict[str, Any] = {
            "gen_ai.request.model": step.model,
            "gen_ai.request.max_tokens": step.sampling.get("max_tokens"),
            "gen_ai.request.temperature": step.sampling.get("temperature"),
            "gen_ai.response.finish_reasons": (event.finish,),
        }
        if event.replayed:
            span.add_event("replayed", {"longthink.step.tokens": event.tokens})
        else:
            attributes["gen_ai.usage.input_tokens"] = done.prompt_tokens
            attributes["gen_ai.usage.cache_read.input_tokens"] = done.cached_tokens
            attributes["gen_ai.usage.output_tokens"] = done.completion_tokens
        span.set_attributes({name: value for name, value in attributes.items() if value is not None})
        span.end()


def _carrier(span: Span) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    _W3C.inject(headers, trace.set_span_in_context(span))
    return headers


def _http(scope: Scope, request_id: str) -> dict[str, Any]:
    """What the conventions say of a request; no query, in which clients may have put a key."""
    host, port = scope.get("server") or (None, None)
    known = {
        "http.request.method": scope["method"],
        "url.scheme": scope.get("scheme"),
        "url.path": scope["path"],
        "network.protocol.version": scope.get("http_version"),
        "server.address": host,
        "server.port": port,
        "client.address": (scope.get("client") or (None,))[0],
        "user_agent.original": Headers(scope=scope).get("user-agent"),
        "http.response.header.x-request-id": (request_id,),
    }
    return {name: value for name, value in known.items() if value is not None}


def _answered(span: Span, status: int) -> None:
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))
        span.set_attribute("error.type", str(status))


def _failed(span: Span, error: Exception) -> None:
    """The kind of error alone: its text may quote what a client has sent."""
    if isinstance(error, HandOver | LeaseLost):
        span.add_event("left to others")
        return
    span.set_attribute("error.type", type(error).__name__)
    span.set_status(Status(StatusCode.ERROR))
