"""Metrics that operators build on: all there from the start, and true."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, cast, get_args

import httpx
import pytest

from decoders.core.errors import InvalidRequest
from decoders.core.messages import Sampling
from decoders.core.task import Model
from decoders.prompts import Pack
from server.admission.refusals import RateLimited
from server.connections import Refused, Rejection
from server.metrics import Metrics
from server.store.base import Lease, LeaseLost, Store, StoreUnavailable
from server.store.measured import measured
from server.store.memory import MemoryStore
from server.upstreams import Upstreams
from tests.engines.upstream.support import HELLO, Upstream, chunks, engines, fail, run, say
from tests.server.conftest import Live, serving

EXPECTED = """
num_requests_running num_requests_waiting request_success_total request_failure_total cancelled_total
prompt_tokens_total generation_tokens_total reasoning_tokens_total
time_to_first_token_seconds time_to_first_answer_token_seconds inter_token_latency_seconds e2e_request_latency_seconds
request_queue_time_seconds decoder_steps budget_used_ratio
runs_running runs_taken_over_total runs_resumed_steps_total runs_lease_lost_total
queue_length rejected_total rate_limited_total store_seconds store_errors_total
upstream_requests_in_flight upstream_requests_total upstream_healthy upstream_retries_total build_info
""".split()


@pytest.fixture(scope="module")
def fresh() -> Iterator[Live]:
    with serving() as running:
        yield running


def test_every_metric_is_named_before_the_first_request(fresh: Live) -> None:
    text = httpx.get(f"{fresh.url}/metrics").text
    named = set(re.findall(r"^# HELP longthink:(\S+) \S", text, re.MULTILINE))
    typed = set(re.findall(r"^# TYPE longthink:(\S+) ", text, re.MULTILINE))
    assert set(EXPECTED) <= named
    assert named == typed
    assert re.search(r'^longthink:build_info\{version="[^"]+"\} 1.0$', text, re.MULTILINE)
    for name in ("process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"):
        assert re.search(rf"^{name} [0-9.e+]+$", text, re.MULTILINE)
    for reason in get_args(Rejection):
        assert f'longthink:rejected_total{{reason="{reason}"}} 0.0' in text


def test_rejections_are_counted_by_reason() -> None:
    metrics = Metrics()
    for error in (
        Refused("no", "queue_full"),
        Refused("not ready"),
        RateLimited("no", "requests", 1, "requests_per_minute"),
        ValueError("no"),
    ):
        metrics.admission.refused(error)
    text = metrics.text().decode()
    assert 'longthink:rejected_total{reason="queue_full"} 1.0' in text
    assert 'longthink:rejected_total{reason="rate_limit"} 1.0' in text
    assert 'longthink:rate_limited_total{limit="requests_per_minute"} 1.0' in text


class Broken(MemoryStore):
    """Out of reach, and deaf to whoever follows."""

    async def value(self, key: str) -> bytes | None:
        raise StoreUnavailable("no connection")

    async def append(self, lease: Lease, entries: Any) -> None:
        raise LeaseLost("gone")

    async def follow(self, id: str, after: int) -> AsyncGenerator[Any, None]:
        yield [b"one"]
        raise StoreUnavailable("no connection")


def store(kind: type[MemoryStore], metrics: Metrics) -> Store:
    return measured(kind(limit=10, seconds=10, max_bytes=1000), metrics.store)


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"longthink:{name}", labels) or 0.0


def test_store_operations_are_timed_and_their_failures_counted() -> None:
    metrics = Metrics()

    async def main() -> None:
        whole, broken = store(MemoryStore, metrics), store(Broken, metrics)
        assert await whole.keep("key", b"value", 10)
        assert await whole.value("key") == b"value"
        with pytest.raises(StoreUnavailable):
            await broken.value("key")
        with pytest.raises(LeaseLost):
            await broken.append(Lease("id", "holder", 1), [b"x"])
        entries = broken.follow("id", -1)
        assert await anext(entries) == [b"one"]
        with pytest.raises(StoreUnavailable):
            await anext(entries)

    asyncio.run(main())
    assert sample(metrics, "store_seconds_count", operation="value", store="memory") == 1
    assert sample(metrics, "store_seconds_count", operation="value", store="broken") == 1
    assert sample(metrics, "store_errors_total", operation="value", store="memory") == 0
    assert sample(metrics, "store_errors_total", operation="value", store="broken") == 1
    assert sample(metrics, "store_errors_total", operation="append", store="broken") == 0
    assert sample(metrics, "store_errors_total", operation="follow", store="broken") == 1


def test_a_measured_store_is_otherwise_the_store() -> None:
    raw = MemoryStore(limit=10, seconds=10, max_bytes=1000, lease_seconds=7)
    wrapped = measured(raw, Metrics().store)
    assert (wrapped.lease_seconds, wrapped.durable) == (7, raw.durable)

    async def main() -> list[Any]:
        stream = wrapped.follow("nobody", -1)
        await stream.aclose()
        return [batch async for batch in wrapped.follow("nobody", -1)]

    assert asyncio.run(main()) == []


def upstream_metrics(models: Any) -> Callable[..., float]:
    metrics = Metrics("1", Upstreams(models).all)
    return lambda name, **labels: sample(metrics, f"upstream_{name}", **labels)


def test_upstream_hosts_are_shown_with_their_calls_and_state() -> None:
    async def main() -> None:
        async with engines(Upstream(fail(500), say("hi"), fail(400), say("ho"))) as made:
            engine = cast("Any", made["m"])
            # one server under two names is one host
            read = upstream_metrics([Model(engine, Pack.load("plain"))] * 2)
            host = engine.pool.hosts[0].url
            await chunks(engine)
            with pytest.raises(InvalidRequest):
                await chunks(engine)
            await chunks(engine)
            ended = {o: read("requests_total", host=host, outcome=o) for o in ("success", "failed", "refused", "busy")}
            assert ended == {"success": 2, "failed": 1, "refused": 1, "busy": 0}
            assert (read("retries_total", host=host), read("requests_in_flight", host=host)) == (1, 0)
            held = await engine.pool.acquire(engine._call(HELLO, Sampling(max_tokens=5)))
            assert read("requests_in_flight", host=host) == 1
            engine.pool.release(held)
            assert read("healthy", host=host) == 1
            engine.pool.drain(host)
            assert read("healthy", host=host) == 0

    run(main)
