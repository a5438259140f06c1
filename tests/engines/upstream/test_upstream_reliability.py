"""Retries, pauses, the breaker, health checks, draining, timeouts, and which error comes out."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from benchmarks.fake_upstream import Exchange, Request
from decoders.core.errors import ContextOverflow, EngineError, EngineUnavailable, InvalidRequest
from server.engines.upstream.breaker import Breaker
from server.engines.upstream.failures import backoff, retry_after
from tests.engines.upstream.support import (
    Upstream,
    complete,
    engine,
    event,
    events,
    fail,
    hang,
    raw,
    run,
    say,
    until,
)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
def test_a_call_is_tried_again_before_its_first_token(status: int) -> None:
    async def main() -> None:
        upstream = Upstream(fail(status), fail(status), say("hi"))
        async with engine(upstream) as made:
            assert (await complete(made))[0].text == "hi"
            assert len(upstream.requests) == 3

    run(main)


@pytest.mark.parametrize(
    "trouble",
    [
        raw(b""),
        raw(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nab"),
        raw(b"nonsense\r\n\r\n"),
        events(event({"role": "assistant", "content": ""}), done=False),
        events(event({"role": "assistant"}, error={"message": "overloaded", "code": 503})),
        events({"error": {"message": "engine died"}}),
    ],
)
def test_connections_that_break_before_the_first_token_cost_nothing(trouble: Any) -> None:
    async def main() -> None:
        upstream = Upstream(trouble, say("hi"))
        async with engine(upstream) as made:
            (done,) = await complete(made)
            assert (done.text, done.completion_tokens) == ("hi", 1)

    run(main)


@pytest.mark.parametrize("trouble", [events(event({"content": "a"}), done=False), hang(event({"content": "a"}))])
def test_after_the_first_token_a_failure_is_an_error(trouble: Any) -> None:
    async def main() -> None:
        upstream = Upstream(trouble)
        async with engine(upstream, idle_seconds=0.05) as made:
            with pytest.raises(EngineError, match="after its first token") as failure:
                await complete(made)
            assert not isinstance(failure.value, EngineUnavailable)
            assert len(upstream.requests) == 1

    run(main)


def test_an_error_in_the_middle_of_a_stream_is_told() -> None:
    async def main() -> None:
        upstream = Upstream(events(event({"content": "a"}), {"error": {"message": "out of memory", "code": 500}}))
        async with engine(upstream) as made:
            with pytest.raises(EngineError, match="out of memory"):
                await complete(made)

    run(main)


def test_another_host_comes_first() -> None:
    async def main() -> None:
        bad, good = Upstream(fail(503)), Upstream(say("hi"))
        async with engine(bad, good, backoff_seconds=30) as made:
            for _ in range(4):
                assert (await complete(made))[0].text == "hi"
        assert len(good.requests) == 4

    run(main)


def test_attempts_end_with_the_reason() -> None:
    async def main() -> None:
        upstream = Upstream(fail(503, "loading"))
        async with engine(upstream, attempts=3) as made:
            with pytest.raises(EngineUnavailable, match=r"HTTP 503: loading.*3 times"):
                await complete(made)
            assert len(upstream.requests) == 3

    run(main)


def test_retry_after_is_waited_for_by_all_calls() -> None:
    async def main() -> None:
        upstream = Upstream(fail(429, headers=[("Retry-After", "0.2")]), say("hi"))
        async with engine(upstream) as made:
            began = time.monotonic()
            first = asyncio.create_task(complete(made))
            await until(lambda: made.pool.hosts[0].busy_until > 0)
            assert not made.pool.hosts[0].available
            await complete(made)
            await first
            assert time.monotonic() - began >= 0.2
            assert made.pool.hosts[0].breaker.failures == 0

    run(main)


def test_retry_after_is_seconds_or_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert retry_after({"retry-after": "1.5"}) == 1.5
    assert 25 < (retry_after({"retry-after": later}) or 0) <= 30
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert retry_after({}) is None
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({"retry-after": "9" * 400}) is not None


def test_backoff_doubles_with_full_jitter_up_to_its_limit() -> None:
    drawn = [[backoff(attempt, 1.0, 5.0, None) for _ in range(200)] for attempt in range(5)]
    assert all(0 <= wait <= min(2.0**attempt, 5.0) for attempt, waits in enumerate(drawn) for wait in waits)
    assert max(drawn[3]) > 4 > 1 > min(drawn[3])
    assert 3 <= backoff(0, 0.5, 30.0, 3.0) <= 3.5
    assert backoff(0, 0.5, 30.0, 3600.0) == 30.0


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_a_refusal_is_the_callers_mistake_and_not_repeated(status: int) -> None:
    async def main() -> None:
        upstream = Upstream(fail(status, "temperature is wrong", param="temperature", code="bad_value"))
        async with engine(upstream) as made:
            with pytest.raises(InvalidRequest, match="temperature is wrong") as refusal:
                await complete(made)
            assert (refusal.value.param, refusal.value.code) == ("temperature", "bad_value")
            assert len(upstream.requests) == 1
            assert made.pool.hosts[0].breaker.failures == 0

    run(main)


@pytest.mark.parametrize(
    "answer",
    [
        fail(400, "too long", code="context_length_exceeded"),
        fail(400, "This model's maximum context length is 10 tokens and your request has 12 input tokens"),
        fail(400, "the request exceeds the available context size", type="exceed_context_size_error"),
        events({"error": {"message": "maximum context length is 10", "code": 400}}),
    ],
)
def test_a_prompt_that_does_not_fit_is_an_overflow(answer: Any) -> None:
    async def main() -> None:
        async with engine(Upstream(answer)) as made:
            with pytest.raises(ContextOverflow):
                await complete(made)

    run(main)


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 64 tokens. However, you requested 112 tokens (12 in the messages, "
        "100 in the completion). Please reduce the length",
        "'max_tokens' is too large: 100. This model's maximum context length is 64 tokens and your request has 12 "
        "input tokens (100 > 64 - 12).",
        "Requested token count exceeds the model's maximum context length of 64 tokens. You requested a total of 112 "
        "tokens: 12 tokens from the input messages and 100 tokens for the completion.",
        "max_tokens is too large: 100. This model supports at most 52 completion tokens.",
    ],
)
def test_a_completion_that_does_not_fit_is_made_shorter(message: str) -> None:
    async def main() -> None:
        upstream = Upstream(fail(400, message), say("hi"))
        async with engine(upstream, attempts=1) as made:
            assert (await complete(made, max_tokens=100))[0].text == "hi"
            assert [body["max_completion_tokens"] for body in upstream.bodies] == [100, 52]

    run(main)


def test_where_the_message_does_not_tell_the_prompt_is_counted() -> None:
    async def main() -> None:
        upstream = Upstream(fail(400, "context length exceeded"), say("hi"), owned_by="vllm", max_model_len=128)
        upstream.routes["/tokenize"] = lambda request: {"tokens": [1] * 98}
        async with engine(upstream) as made:
            await complete(made, max_tokens=100)
            assert upstream.bodies[1]["max_tokens"] == 30

    run(main)


def test_the_breaker_opens_and_a_health_check_lets_one_call_through() -> None:
    async def main() -> None:
        upstream = Upstream(*[fail(500)] * 3, say("hi"))
        async with engine(upstream, attempts=1, break_after=3, health_seconds=0.05) as made:
            breaker = made.pool.hosts[0].breaker
            for _ in range(3):
                with pytest.raises(EngineUnavailable, match="HTTP 500"):
                    await complete(made)
            assert breaker.state == "open"
            assert not await made.ready()
            with pytest.raises(EngineUnavailable, match="no upstream takes calls"):
                await complete(made)
            assert len(upstream.requests) == 3
            await until(lambda: breaker.state == "half-open")
            assert made.pool.hosts[0].limit == 1
            assert (await complete(made))[0].text == "hi"
            assert (breaker.state, breaker.failures) == ("closed", 0)

    run(main)


def test_the_breaker_in_itself() -> None:
    breaker = Breaker(2, 1.0)
    breaker.failed("a")
    breaker.succeeded()
    breaker.failed("b")
    assert breaker.state == "closed"
    breaker.failed("c")
    assert (breaker.state, breaker.reason) == ("open", "c")
    breaker.unanswered("d")
    breaker.unanswered("e")
    assert breaker.pause == 4.0
    breaker.answered()
    breaker.failed("f")
    assert (breaker.state, breaker.pause) == ("open", 8.0)
    for _ in range(9):
        breaker.unanswered("g")
    assert breaker.pause == 60.0
    breaker.answered()
    breaker.succeeded()
    assert (breaker.state, breaker.pause, breaker.reason) == ("closed", 1.0, "")


def test_where_nobody_listens_no_second_call_is_tried(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        upstream = Upstream()
        async with engine(upstream, attempts=1, break_after=99, health_seconds=9) as made:
            await upstream.stop()
            with pytest.raises(EngineUnavailable):
                await complete(made)  # may find the connection of the discovery, which is closing
            made.pool.hosts[0].breaker.state = "closed"
            with caplog.at_level("INFO"), pytest.raises(EngineUnavailable, match="cannot connect") as failure:
                await complete(made)
            assert made.pool.hosts[0].breaker.state == "open"
            assert not await made.ready()
            # clients are not told addresses, the log is
            assert "127.0.0.1" not in str(failure.value)
            assert upstream.url in caplog.text

    run(main)


def test_a_host_that_dies_is_noticed_and_comes_back() -> None:
    async def main() -> None:
        upstream = Upstream()
        async with engine(upstream, attempts=1) as made:
            await upstream.stop()
            await until(lambda: made.pool.hosts[0].breaker.state == "open")
            assert not await made.ready()
            await upstream.start()
            await until(lambda: made.pool.hosts[0].available)
            assert (await complete(made))[0].text == "hi"
            await upstream.stop()

    run(main)


def test_a_host_that_says_503_gets_no_new_calls_and_keeps_its_old_ones() -> None:
    async def main() -> None:
        release = asyncio.Event()

        async def slow(request: Request, exchange: Exchange) -> None:
            await release.wait()
            await say("old")(request, exchange)

        one, two = Upstream(slow), Upstream(slow)
        async with engine(one, two) as made:
            old = asyncio.create_task(complete(made))
            await until(lambda: one.in_progress + two.in_progress == 1)
            busy, idle = (one, two) if one.in_progress else (two, one)
            busy.health = 503
            await until(lambda: sum(host.available for host in made.pool.hosts) == 1)
            new = [asyncio.create_task(complete(made)) for _ in range(4)]
            await until(lambda: idle.in_progress == 4)
            release.set()
            assert (await old)[0].text == "old"
            await asyncio.gather(*new)
            busy.health = 200
            await until(lambda: all(host.available for host in made.pool.hosts))

    run(main)


def test_a_host_can_be_drained_and_readmitted() -> None:
    async def main() -> None:
        one, two = Upstream(), Upstream()
        async with engine(one, two) as made:
            made.pool.drain(one.url)
            for _ in range(3):
                await complete(made)
            assert (len(one.requests), len(two.requests)) == (0, 3)
            made.pool.drain(two.url)
            assert not await made.ready()
            made.pool.readmit(one.url)
            await complete(made)
            assert len(one.requests) == 1
            with pytest.raises(KeyError):
                made.pool.drain("http://elsewhere/v1")

    run(main)


def test_a_vendor_without_a_health_check_is_not_asked_again() -> None:
    async def main() -> None:
        upstream = Upstream()
        upstream.health = 404
        async with engine(upstream, health_seconds=0.01) as made:
            await until(lambda: made.pool.hosts[0].health is None)
            asked = len(upstream.gets)
            await asyncio.sleep(0.05)
            assert len(upstream.gets) == asked
            assert await made.ready()

    run(main)


def test_the_first_token_has_its_own_time_limit() -> None:
    async def main() -> None:
        upstream = Upstream(hang(event({"role": "assistant"})), hang(), say("hi"))
        async with engine(upstream, first_token_seconds=0.05, idle_seconds=20) as made:
            assert (await complete(made))[0].text == "hi"
            assert len(upstream.requests) == 3

    run(main)
