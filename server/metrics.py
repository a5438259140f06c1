"""Prometheus metrics, with vLLM's names and buckets under the prefix `longthink:`. Rule: a registry for each app.

A request is waiting until its first token and running from then on. The queue time ends where the first call to the
engine begins; what a call waits for inside the engine counts into the time to the first token. Every name, help text
and label stands here; a metric without samples shows its `# HELP` line from the start.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from decoders.core.engine import Finish
from decoders.core.events import Delta, Event
from decoders.core.trace import Usage
from server.admission.refusals import RateLimited
from server.connections import HandOver, Refused, Rejection
from server.store.base import LeaseLost
from server.upstreams import Upstream

_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
_BETWEEN = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0)
_WHOLE = (0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0)
_STORE = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_RATIO = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 1.0)
_LABELS = ("model", "decoder")


class Metrics:
    """All metrics of one app."""

    def __init__(self, version: str = "", upstreams: Callable[[], Sequence[Upstream]] = tuple) -> None:
        self.registry = CollectorRegistry()
        self.runs = RunMetrics(self.registry)
        self.admission = AdmissionMetrics(self.registry)
        self.store = StoreMetrics(self.registry)
        self.registry.register(_UpstreamMetrics(upstreams))
        Info("longthink:build", "The installed longthink.", registry=self.registry).info({"version": version})
        ProcessCollector(registry=self.registry)
        self._bound: dict[tuple[str, str], _Bound] = {}
        self.running = self._gauge("num_requests_running", "Requests of which tokens have been generated.")
        self.waiting = self._gauge("num_requests_waiting", "Requests that wait for their first token.")
        self.success = self._counter("request_success", "Requests answered.", "finished_reason")
        self.failure = self._counter("request_failure", "Requests that failed after they were accepted.")
        self.cancelled = self._counter("cancelled", "Requests whose client left before the end.")
        self.prompt = self._counter("prompt_tokens", "Prompt tokens of all steps.")
        self.generated = self._counter("generation_tokens", "Tokens generated.")
        self.reasoning = self._counter("reasoning_tokens", "Tokens generated that are not part of an answer.")
        self.first = self._histogram("time_to_first_token_seconds", "Until the first token of any step.", _FIRST)
        self.answer = self._histogram(
            "time_to_first_answer_token_seconds", "Until the first token of the answer.", _WHOLE
        )
        self.between = self._histogram("inter_token_latency_seconds", "From one token to the next.", _BETWEEN)
        self.whole = self._histogram("e2e_request_latency_seconds", "From request to last token.", _WHOLE)
        self.queue = self._histogram("request_queue_time_seconds", "Until the first call to the engine.", _WHOLE)
        self.steps = self._histogram("decoder_steps", "Calls to an engine that a request made.", _STEPS)
        self.used = self._histogram("budget_used_ratio", "Share of its budget that a request spent.", _RATIO)

    def watch(self, model: str, decoder: str) -> Watch:
        """Follows one request."""
        bound = self._bound.get((model, decoder))
        if bound is None:
            bound = self._bound[model, decoder] = _Bound(self, (model, decoder))
        return Watch(bound)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"longthink:{name}", text, _LABELS, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"longthink:{name}", text, (*_LABELS, *labels), registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Iterable[float]) -> Histogram:
        return Histogram(f"longthink:{name}", text, _LABELS, registry=self.registry, buckets=tuple(buckets))


class _Bound:
    """The metrics of one model and decoder: looking labels up costs more than counting."""

    def __init__(self, metrics: Metrics, labels: tuple[str, str]) -> None:
        self.running, self.waiting = metrics.running.labels(*labels), metrics.waiting.labels(*labels)
        self.success = {r: metrics.success.labels(*labels, r) for r in get_args(Finish)}
        self.failure, self.cancelled = metrics.failure.labels(*labels), metrics.cancelled.labels(*labels)
        self.prompt, self.generated = metrics.prompt.labels(*labels), metrics.generated.labels(*labels)
        self.reasoning, self.steps = metrics.reasoning.labels(*labels), metrics.steps.labels(*labels)
        self.first, self.answer = metrics.first.labels(*labels), metrics.answer.labels(*labels)
        self.between, self.whole = metrics.between.labels(*labels), metrics.whole.labels(*labels)
        self.queue, self.used = metrics.queue.labels(*labels), metrics.used.labels(*labels)


class Watch:
    """One request as the metrics see it: `batch` for what arrives, `done` for how it ended."""

    def __init__(self, bound: _Bound) -> None:
        self._bound = bound
        self._began = self._last = time.monotonic()
        self._called = self._flowing = self._answering = False

    def __enter__(self) -> Watch:
        self._bound.waiting.inc()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        (self._bound.running if self._flowing else self._bound.waiting).dec()
        if isinstance(error, HandOver | LeaseLost | RateLimited | Refused):
            return  # the replica that goes on counts it, or `rejected_total` has
        if isinstance(error, Exception):
            self._bound.failure.inc()
        elif error is not None:
            self._bound.cancelled.inc()

    def batch(self, batch: list[Event]) -> None:
        """Events that have just arrived together."""
        now, tokens, final = time.monotonic(), 0, False
        if not self._called:
            self._called = True
            self._bound.queue.observe(now - self._began)
        for event in batch:
            if isinstance(event, Delta):
                tokens += event.tokens
                final = final or (event.final and event.channel == "answer")
        if tokens and self._flowing:
            self._bound.between.observe((now - self._last) / tokens)
        elif tokens:
            self._flowing = True
            self._bound.waiting.dec()
            self._bound.running.inc()
            self._bound.first.observe(now - self._began)
        if tokens:
            self._last = now
        if final and not self._answering:
            self._answered(now)

    def done(self, usage: Usage, budget: int, finish: Finish) -> None:
        """The request has its answer."""
        now = time.monotonic()
        if not self._answering:
            self._answered(now)
        self._bound.success[finish].inc()
        self._bound.whole.observe(now - self._began)
        self._bound.steps.observe(usage.steps)
        self._bound.used.observe(usage.completion_tokens / budget)

    def spent(self, usage: Usage, generated: int, before: Usage) -> None:
        """What the request cost, however it ended.

        `generated` includes the tokens of calls that were cut off; `before` is what another replica has counted.
        """
        reasoning = generated - usage.completion_tokens + usage.reasoning_tokens
        self._bound.prompt.inc(max(usage.prompt_tokens - before.prompt_tokens, 0))
        self._bound.generated.inc(max(generated - before.completion_tokens, 0))
        self._bound.reasoning.inc(max(reasoning - before.reasoning_tokens, 0))

    def _answered(self, now: float) -> None:
        self._answering = True
        self._bound.answer.observe(now - self._began)


class RunMetrics:
    """Runs that outlive their request."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.running = Gauge("longthink:runs_running", "Durable runs that this replica holds.", registry=registry)
        self.taken_over = Counter(
            "longthink:runs_taken_over", "Durable runs that another replica had before.", registry=registry
        )
        self.resumed_steps = Counter(
            "longthink:runs_resumed_steps", "Steps of such runs that were replayed, not generated.", registry=registry
        )
        self.lease_lost = Counter(
            "longthink:runs_lease_lost",
            "Durable runs that another replica took away, or that were deleted.",
            registry=registry,
        )

    def took_over(self, steps: int) -> None:
        """A run is held that has so many steps behind it."""
        self.taken_over.inc()
        self.resumed_steps.inc(steps)


class AdmissionMetrics:
    """Requests that were let in, made to wait, or turned away."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.queue = Gauge("longthink:queue_length", "Requests that wait to be let in.", registry=registry)
        rejected = Counter("longthink:rejected", "Requests that were turned away.", ("reason",), registry=registry)
        self._rejected = {reason: rejected.labels(reason) for reason in get_args(Rejection)}
        self._limited = Counter(
            "longthink:rate_limited", "Requests beyond a limit of their key.", ("limit",), registry=registry
        )

    def rejected(self, reason: Rejection) -> None:
        """A request was turned away."""
        self._rejected[reason].inc()

    def refused(self, error: Exception) -> None:
        """A request ended with this error; whatever is no refusal is not counted here."""
        if isinstance(error, RateLimited):
            self._limited.labels(error.limit).inc()
            self.rejected("rate_limit")
        elif isinstance(error, Refused) and error.reason is not None:
            self.rejected(error.reason)


class StoreMetrics:
    """Operations of the store, by the store's kind."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("operation", "store")
        text = "What an operation of the store takes; waiting for news is none."
        self._seconds = Histogram("longthink:store_seconds", text, labels, registry=registry, buckets=_STORE)
        self._errors = Counter(
            "longthink:store_errors", "Operations of the store that failed.", labels, registry=registry
        )

    def operation(self, name: str, store: str) -> tuple[Histogram, Counter]:
        """Time and failures of one operation."""
        return self._seconds.labels(name, store), self._errors.labels(name, store)


class _UpstreamMetrics(Collector):
    """Upstream hosts as they are when somebody looks: a call pays for nothing but its own counts."""

    def __init__(self, upstreams: Callable[[], Sequence[Upstream]]) -> None:
        self._upstreams = upstreams

    def collect(self) -> Iterator[Metric]:
        """All families, also where there are no upstreams."""
        name, hosts = "longthink:upstream", self._upstreams()
        flying = GaugeMetricFamily(f"{name}_requests_in_flight", "Calls in progress.", labels=("host",))
        well = GaugeMetricFamily(f"{name}_healthy", "Whether the host gets calls.", labels=("host",))
        ended = CounterMetricFamily(f"{name}_requests", "Calls that ended.", labels=("host", "outcome"))
        again = CounterMetricFamily(f"{name}_retries", "Calls that were tried again after it.", labels=("host",))
        for host in hosts:
            flying.add_metric((host.url,), host.in_flight)
            well.add_metric((host.url,), host.healthy)
            again.add_metric((host.url,), host.retries)
            for outcome, count in host.outcomes.items():
                ended.add_metric((host.url, outcome), count)
        yield from (flying, well, ended, again)
