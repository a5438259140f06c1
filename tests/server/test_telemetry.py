"""Traces as a collector receives them: over OTLP, from a live server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fake_upstream import Exchange, Request, Server
from server.engines.scripted import ScriptedEngine
from server.settings import Settings
from server.store.memory import MemoryStore
from server.telemetry import open_tracing
from tests.engines.upstream.support import Upstream, engines, event, fail, hang, run, say, until
from tests.server.conftest import HELLO
from tests.server.support import client_of

service = pytest.importorskip(
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="pip install 'longthink[telemetry]'"
)
pytest.importorskip("opentelemetry.sdk", reason="pip install 'longthink[telemetry]'")

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}
SERVER, INTERNAL, ERROR = 2, 1, 2


class Span:
    """A span as it was received."""

    def __init__(self, sent: Any, resource: dict[str, Any]) -> None:
        self.name, self.kind, self.status = sent.name, sent.kind, sent.status.code
        self.trace, self.id, self.parent = sent.trace_id.hex(), sent.span_id.hex(), sent.parent_span_id.hex()
        self.begin, self.end = sent.start_time_unix_nano, sent.end_time_unix_nano
        self.attributes, self.resource = values(sent.attributes), resource
        self.events = {e.name: values(e.attributes) for e in sent.events}


def values(attributes: Any) -> dict[str, Any]:
    return {a.key: value(a.value) for a in attributes}


def value(sent: Any) -> Any:
    kind = sent.WhichOneof("value")
    found = getattr(sent, kind)
    return [value(item) for item in found.values] if kind == "array_value" else found


class Collector:
    """Takes spans as an OpenTelemetry collector does."""

    def __init__(self, status: int = 200) -> None:
        self.requests: list[Request] = []
        self.url = ""
        self._status, self._server = status, Server(self._handle)

    @property
    def spans(self) -> list[Span]:
        found = []
        for request in self.requests:
            for sent in service.ExportTraceServiceRequest.FromString(request.body).resource_spans:
                found += [Span(s, values(sent.resource.attributes)) for scope in sent.scope_spans for s in scope.spans]
        return found

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    async def _handle(self, request: Request, exchange: Exchange) -> None:
        self.requests.append(request)
        exchange.whole(self._status, b"")


@asynccontextmanager
async def collecting(status: int = 200) -> AsyncGenerator[Collector, None]:
    collector = Collector(status)
    collector.url = await collector._server.start()
    yield collector
    await collector._server.aclose()


def ask(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": HELLO, "seed": 1, **fields}


def test_a_request_is_a_span_and_each_step_a_child_of_it() -> None:
    async def main() -> None:
        async with collecting() as collector:
            settings = {"otlp_endpoint": collector.url, "otlp_headers": {"x-token": "collector-secret"}}
            async with client_of({"m": ScriptedEngine(model="m")}, **settings) as client:
                body = ask(decoder={"name": "rc", "turns": 3}, stream=False)
                headers = {**TRACEPARENT, "x-request-id": "mine", "user-agent": "tests"}
                answer = (await client.post("/v1/chat/completions?api_key=secret", json=body, headers=headers)).json()
                await client.get("/health")
        (request,) = [span for span in collector.spans if span.kind == SERVER]
        assert (request.name, request.trace, request.parent) == ("POST /v1/chat/completions", TRACE, PARENT)
        expected = {
            "http.request.method": "POST",
            "http.route": "/v1/chat/completions",
            "url.path": "/v1/chat/completions",
            "url.scheme": "http",
            "http.response.status_code": 200,
            "http.response.header.x-request-id": ["mine"],
            "user_agent.original": "tests",
            "gen_ai.request.model": "m",
            "longthink.decoder": "rc",
            "longthink.tokens": answer["usage"]["completion_tokens"],
        }
        assert expected.items() <= request.attributes.items()
        steps = [span for span in collector.spans if span.kind == INTERNAL]
        assert {(s.trace, s.parent) for s in steps} == {(TRACE, request.id)}
        assert [s.name for s in steps] == ["step reason", "step summarise"] * 2 + ["step reason"]
        assert [s.attributes["longthink.step.key"] for s in steps] == ["0", "1", "2", "3", "4"]
        assert all(request.begin <= a.begin <= a.end <= b.begin for a, b in pairwise(steps))
        total = sum(s.attributes["gen_ai.usage.output_tokens"] for s in steps)
        prompt = sum(s.attributes["gen_ai.usage.input_tokens"] for s in steps)
        assert (prompt, total) == (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"])
        last = steps[-1].attributes
        assert (last["gen_ai.operation.name"], last["gen_ai.request.model"]) == ("chat", "m")
        assert (last["gen_ai.response.finish_reasons"], last["longthink.step.final"]) == (["stop"], True)
        assert last["gen_ai.usage.cache_read.input_tokens"] == 0
        assert "first token" in steps[-1].events
        assert request.resource["service.name"] == "longthink"
        assert collector.requests[0].headers["x-token"] == "collector-secret"
        assert {r.path for r in collector.requests} == {"/v1/traces"}
        for word in (b"hello there", b"secret"):
            assert not [r for r in collector.requests if word in r.body]

    run(main)


def test_what_is_called_upstream_belongs_to_the_step_that_calls() -> None:
    async def main() -> None:
        async with collecting() as collector:
            upstream = Upstream(say("the", "answer"))
            async with (
                engines(upstream) as made,
                client_of(made, otlp_endpoint=collector.url + "/v1/traces") as client,
            ):
                body = ask(decoder={"name": "self_consistency", "n": 3}, n=2)
                assert (await client.post("/v1/chat/completions", json=body, headers=TRACEPARENT)).is_success
        told = [r.headers["traceparent"].split("-")[1:3] for r in upstream.requests]
        assert {r.headers["tracestate"] for r in upstream.requests} == {"vendor=1"}
        steps = {span.id: span for span in collector.spans if span.kind == INTERNAL}
        assert {trace for trace, _ in told} == {TRACE}
        assert {id for _, id in told} <= steps.keys()
        # one call for all samples where the upstream can do that: its parent is one of them
        assert {steps[id].attributes["longthink.choice"] for _, id in told} == {0, 1}
        assert len(steps) == 6

    run(main)


def test_failures_and_cancellations_show_in_request_and_step() -> None:
    async def main() -> None:
        async with collecting() as collector:
            broken = Upstream(fail(500), fail(500), hang(event({"content": "so"})))
            async with (
                engines(broken, attempts=2) as made,
                client_of(made, otlp_endpoint=collector.url) as client,
            ):
                failed = await client.post("/v1/chat/completions", json=ask())
                assert failed.status_code == 503
                async with client.stream("POST", "/v1/chat/completions", json=ask(stream=True)) as response:
                    await anext(response.aiter_raw())
                await until(lambda: broken.aborted == 1)
        requests = [span for span in collector.spans if span.kind == SERVER]
        steps = {span.parent: span for span in collector.spans if span.kind == INTERNAL}
        first, second = sorted(requests, key=lambda span: span.begin)
        assert (first.status, first.attributes["http.response.status_code"]) == (ERROR, 503)
        assert (steps[first.id].status, steps[first.id].attributes["error.type"]) == (ERROR, "EngineUnavailable")
        assert (second.status, steps[second.id].status) == (0, 0)
        assert steps[second.id].attributes["longthink.cancelled"] is True

    run(main)


def test_bad_requests_are_no_errors_and_have_no_route_of_their_own() -> None:
    async def main() -> None:
        async with (
            collecting() as collector,
            client_of({"m": ScriptedEngine(model="m")}, otlp_endpoint=collector.url) as client,
        ):
            await client.post("/v1/chat/completions", json={"model": "none"}, headers={"traceparent": "00-nonsense"})
            await client.get("/v1/some/where")
            await client.get("/v1/responses/resp_1")
        found = {span.name: span for span in collector.spans}
        assert found.keys() == {"POST /v1/chat/completions", "GET", "GET /v1/responses/{response_id}"}
        assert {(span.status, span.parent) for span in found.values()} == {(0, "")}
        assert found["GET"].attributes["http.response.status_code"] == 404

    run(main)


def test_a_run_that_moves_to_another_replica_stays_in_its_trace() -> None:
    async def main() -> None:
        store = MemoryStore(limit=10, seconds=100, max_bytes=10_000_000, lease_seconds=0.3)
        store.durable = True  # within one process it is, for this test
        async with collecting() as collector:
            engine = ScriptedEngine(model="m", token_delay=0.01)
            async with client_of({"m": engine}, store, otlp_endpoint=collector.url) as client:
                body = {"model": "m", "input": "hello there", "background": True, "decoder": {"name": "rc", "turns": 4}}
                id = (await client.post("/v1/responses", json=body, headers=TRACEPARENT)).json()["id"]
                while len(await store.steps(id)) < 2:  # noqa: ASYNC110 - the store tells nobody of steps
                    await asyncio.sleep(0.005)
            async with client_of({"m": ScriptedEngine(model="m")}, store, otlp_endpoint=collector.url) as client:
                answer = await client.get(f"/v1/responses/{id}", params={"stream": True})
                assert b"response.completed" in answer.content
                counted = (await client.get("/metrics")).text
        before, after = sorted(collector.named("run"), key=lambda span: span.begin)
        (request,) = collector.named("POST /v1/responses")
        assert {(s.trace, s.parent) for s in (before, after)} == {(TRACE, request.id)}
        assert before.attributes["longthink.run.id"] == after.attributes["longthink.run.id"] == id
        assert [s.attributes["longthink.run.holders"] for s in (before, after)] == [1, 2]
        assert ("taken over" in before.events, "taken over" in after.events) == (False, True)
        replayed = after.events["taken over"]["longthink.run.replayed_steps"]
        assert replayed >= 2
        assert "longthink:runs_taken_over_total 1.0" in counted
        assert f"longthink:runs_resumed_steps_total {replayed}.0" in counted
        steps = [span for span in collector.spans if span.parent == after.id]
        again = [span for span in steps if "replayed" in span.events]
        assert (len(again), len(steps)) == (replayed, 7)
        assert not [span for span in again if "gen_ai.usage.output_tokens" in span.attributes]
        done = [s for s in collector.spans if s.parent == before.id and "gen_ai.usage.output_tokens" in s.attributes]
        assert len(done) == replayed

    run(main)


@pytest.mark.parametrize("status", [500, 404])
def test_a_collector_that_fails_is_nobody_elses_trouble(status: int) -> None:
    async def main() -> None:
        async with (
            collecting(status) as collector,
            client_of({"m": ScriptedEngine(model="m")}, otlp_endpoint=collector.url) as client,
        ):
            assert (await client.post("/v1/chat/completions", json=ask())).is_success

    run(main)


def test_without_a_collector_a_trace_is_passed_on_as_it_came() -> None:
    async def main() -> None:
        upstream = Upstream()
        async with engines(upstream) as made, client_of(made) as client:
            wrong = {"traceparent": "00-" + "0" * 32 + f"-{PARENT}-01"}
            for headers in (TRACEPARENT, {}, wrong, {"tracestate": "alone=1"}):
                assert (await client.post("/v1/chat/completions", json=ask(), headers=headers)).is_success
        sent = [{k: v for k, v in r.headers.items() if k.startswith("trace")} for r in upstream.requests]
        assert sent == [TRACEPARENT, {}, {}, {}]

    run(main)


def imported(code: str, **environment: str) -> str:
    words = [sys.executable, "-c", code + "; import sys; print('opentelemetry.sdk' in sys.modules)"]
    root = Path(__file__).parents[2]
    return subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True, timeout=60).stdout.strip()


def test_the_library_is_not_imported_unless_it_is_wanted() -> None:
    assert imported("import server.app, server.serve") == "False"


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_the_standard_variables_are_enough(
    environment: dict[str, str], on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    tracing = open_tracing(Settings(engine="scripted"), "1")
    assert (tracing is not None) == on
    if tracing is not None:
        asyncio.run(tracing.aclose())


def test_the_standard_variables_name_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "solver")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")

    async def main() -> None:
        async with (
            collecting() as collector,
            client_of({"m": ScriptedEngine(model="m")}, otlp_endpoint=collector.url) as client,
        ):
            await client.get("/v1/models")
        resource = collector.spans[0].resource
        assert (resource["service.name"], resource["deployment.environment.name"]) == ("solver", "test")

    run(main)
