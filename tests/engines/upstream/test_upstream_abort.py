"""Closing a call closes it at the upstream, and whatever an upstream sends leaves nothing open."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decoders.core.errors import EngineError, LongThinkError
from decoders.core.messages import Sampling
from server.engines.upstream.failures import Setback
from server.engines.upstream.reply import Reply
from tests.engines.upstream.support import HELLO, Upstream, complete, engine, event, hang, late, raw, run, until

SPEAKING = hang(event({"content": "a"}))


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("answer", [SPEAKING, hang(), hang(event({"role": "assistant"}))])
def test_cancelling_ends_the_calls_at_the_upstream_within_100_ms(answer: Any, n: int) -> None:
    async def main() -> None:
        upstream = Upstream(answer)
        async with engine(upstream) as made:
            call = asyncio.create_task(complete(made, n=n))
            await until(lambda: upstream.in_progress == n)
            call.cancel()
            cancelled = time.monotonic()
            await until(lambda: upstream.in_progress == 0)
            assert time.monotonic() - cancelled < 0.1
            assert upstream.aborted == n
            assert [host.in_flight for host in made.pool.hosts] == [0]
            await asyncio.gather(call, return_exceptions=True)

    run(main)


def test_closing_the_generator_ends_all_calls() -> None:
    async def main() -> None:
        upstream = Upstream(SPEAKING)
        async with engine(upstream) as made:
            async with aclosing(made.generate(HELLO, Sampling(max_tokens=9, n=4))) as chunks:
                async for chunk in chunks:
                    assert chunk.text == "a"
                    break
            closed = time.monotonic()
            await until(lambda: upstream.in_progress == 0)
            assert time.monotonic() - closed < 0.1
            assert made.pool.hosts[0].in_flight == 0

    run(main)


def test_the_first_failure_of_several_calls_ends_the_others() -> None:
    async def main() -> None:
        upstream = Upstream(SPEAKING, SPEAKING, raw(b"HTTP/1.1 400 Bad\r\ncontent-length: 0\r\n\r\n"))
        async with engine(upstream) as made:
            with pytest.raises(LongThinkError):
                await complete(made, n=3)
            await until(lambda: upstream.in_progress == 0)
            assert upstream.aborted == 2

    run(main)


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
GARBAGE = [
    b"data: {\n\n",
    b"data: []\n\n",
    b'data: {"choices": 1}\n\n',
    b'data: {"choices": [{"index": 9, "delta": {}}]}\n\n',
    b'data: {"choices": [{"index": -1}]}\n\n',
    b'data: {"choices": [{"delta": {"content": 5}}]}\n\n',
    b'data: {"choices": [{"delta": "x"}]}\n\n',
    b'data: {"choices": [{"delta": {"tool_calls": [7]}}]}\n\n',
    b'data: {"choices": [{"finish_reason": "stop"}], "usage": {"completion_tokens": "many"}}\n\ndata: [DONE]\n\n',
    b'data: {"choices": [{"finish_reason": "stop"}], "usage": []}\n\ndata: [DONE]\n\n',
    b'data: {"error": null, "choices": [{"logprobs": {"content": [{}]}}]}\n\n',
    b"<html>\n",
    b"\xff\xfe",
]


@pytest.mark.parametrize("body", GARBAGE)
@pytest.mark.parametrize("framing", ["", "transfer-encoding: chunked\r\n", "content-length: 9999\r\n"])
def test_garbage_is_a_typed_error(body: bytes, framing: str) -> None:
    async def main() -> None:
        upstream = Upstream(raw(HEAD + framing.encode() + b"\r\n" + body))
        async with engine(upstream, attempts=2, break_after=99) as made:
            with pytest.raises(EngineError):
                await complete(made)
            assert made.pool.hosts[0].in_flight == 0

    run(main)


CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        (CHUNKED, b"zz\r\n"),
        (CHUNKED, b"5\r\nabcdefgh"),
        (CHUNKED, b"-1\r\n\r\n"),
        (CHUNKED, b"0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"),
        (b"HTTP/1.1 200", b" OK\r\nx\r\n\r\n"),
        (HEAD + b"content-length: -5\r\n\r\n",),
        (HEAD + b"content-encoding: gzip\r\n\r\n", b"\x1f\x8b" + b"x" * 20),
        (b"HTTP/1.1 100 Continue\r\n\r\n",),
        (b"HTTP/1.1 301 Moved\r\nlocation: /v1/models\r\ncontent-length: 0\r\n\r\n",),
        (b"HTTP/1.1 204 No\r\n\r\n",),
    ],
)
def test_broken_http_that_comes_late_is_a_typed_error(pieces: tuple[bytes, ...]) -> None:
    async def main() -> None:
        upstream = Upstream(late(*pieces))
        # aiohttp does not tell the reader of a body that its framing is broken: there the time limit ends the wait
        async with engine(upstream, attempts=2, break_after=99, first_token_seconds=0.2) as made:
            with pytest.raises(EngineError):
                await complete(made)
            assert made.pool.hosts[0].in_flight == 0

    run(main)


NAMES = """choices index delta message content text finish_reason usage error code completion_tokens prompt_tokens type
tool_calls function arguments name logprobs tokens token_logprobs token_ids reasoning top_logprobs""".split()


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)


LEAVES = st.none() | st.booleans() | st.integers(-2, 9) | st.floats() | st.text(max_size=3)
JSON = st.recursive(LEAVES, objects, max_leaves=12)
CHOICE = dict.fromkeys(("delta", "message", "text", "token_ids", "logprobs"), JSON)
CHOICE |= {"index": st.integers(0, 1), "finish_reason": st.sampled_from(["stop", None])}
USAGE = {"completion_tokens": st.integers(-1, 5), "prompt_tokens": st.integers(0, 5)}
LIKELY = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({}, optional=CHOICE), max_size=2)},
    optional={"usage": st.fixed_dictionaries({}, optional=USAGE), "error": JSON},
)


@settings(max_examples=120, deadline=None)
@given(told=st.lists(JSON | LIKELY, max_size=5), n=st.integers(1, 2), counted=st.booleans())
def test_whatever_json_comes_the_result_adds_up_or_the_error_is_typed(told: list[Any], n: int, counted: bool) -> None:
    reply = Reply(n=n, thinking=False, counted=counted)
    total = 0
    try:
        told = [orjson.loads(orjson.dumps(item)) for item in told]
        for item in told:
            total += sum(chunk.size for chunk in reply.take([item]))
        total += sum(chunk.size for chunk in reply.end())
    except (LongThinkError, Setback):
        return
    assert not reply.unfinished
    known = [item["usage"]["completion_tokens"] for item in told if item.get("usage")]
    if n == 1 and known:
        assert total == known[-1]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(max_size=80), prefix=st.sampled_from([b"", HEAD + b"\r\n", HEAD + b"\r\ndata: "]))
def test_whatever_bytes_come_nothing_is_left_open(data: bytes, prefix: bytes) -> None:
    async def main() -> None:
        upstream = Upstream(raw(prefix + data))
        async with engine(upstream, attempts=1, first_token_seconds=1.0) as made:
            with pytest.raises(EngineError):
                await complete(made)
            assert made.pool.hosts[0].in_flight == 0
            assert upstream.in_progress == 0

    run(main)


def test_an_event_without_an_end_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.engines.upstream.events._LONGEST", 1000)

    async def main() -> None:
        upstream = Upstream(raw(HEAD + b"\r\ndata: " + b"x" * 3000))
        async with engine(upstream, attempts=1) as made:
            with pytest.raises(EngineError, match="without an end"):
                await complete(made)

    run(main)
