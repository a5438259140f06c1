"""`LongThink` and `AsyncLongThink` against a real server, over connections that hold and connections that break."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from benchmarks.fake_upstream import Fake, Server
from clients import AsyncLongThink, LongThink, Said, StepEnded, Thought, Trace, Unfinished, UnreadableTrace
from clients.decoders import RC, BestOfN
from server.engines.scripted import ScriptedEngine
from tests.clients.support import breaking
from tests.server.conftest import HELLO, Live, serving, until

LONG: dict[str, Any] = {"decoder": {"name": "rc", "turns": 200}, "budget": 30_000, "model": "base"}


def asynchronously(live: Live, work: Callable[[AsyncLongThink], Coroutine[Any, Any, None]], url: str = "") -> None:
    async def main() -> None:
        async with AsyncLongThink(base_url=url or f"{live.url}/v1", max_retries=0) as client:
            await work(client)

    asyncio.run(main())


def test_decoder_and_budget_reach_the_server_in_every_form(client: LongThink) -> None:
    create = client.chat.completions.create
    for decoder in ("rc", {"name": "rc"}, RC(name="rc", turns=3)):
        done = create(model="base", messages=HELLO, decoder=decoder, budget=90)  # type: ignore[arg-type, list-item]
        assert done.longthink["decoder"]["name"] == "rc"  # type: ignore[attr-defined]
        assert done.longthink["budget"]["tokens"] == 90  # type: ignore[attr-defined]
    low = create(model="base", messages=HELLO, budget="low")  # type: ignore[list-item]
    assert low.longthink["budget"]["tokens"] == 32_768 // 8  # type: ignore[attr-defined]
    made = client.responses.create(model="base", input="hi", decoder=BestOfN(name="best_of_n", n=2), budget=70)
    assert made.longthink["decoder"]["n"] == 2  # type: ignore[attr-defined]
    assert (made.longthink["budget"]["tokens"], made.max_output_tokens) == (70, 70)  # type: ignore[attr-defined]
    effort = client.responses.create(model="base", input="hi", budget="low", reasoning={"summary": None})
    assert effort.longthink["budget"]["tokens"] == 32_768 // 8  # type: ignore[attr-defined]


def test_solve_tells_turns_and_counts_the_purse(client: LongThink) -> None:
    run = client.solve("hello", decoder={"name": "rc", "turns": 3}, budget=500, seed=1)
    told = list(run)
    ends = [event for event in told if isinstance(event, StepEnded)]
    assert [end.kind for end in ends] == ["turn", "summary", "turn", "summary", "turn"]
    assert "".join(event.text for event in told if isinstance(event, Said)) == run.text
    assert {event.role for event in told if isinstance(event, Thought)} == {"reason", "summarise"}
    assert (run.status, run.finish) == ("completed", "stop")
    assert run.progress.spent == run.usage.completion_tokens == sum(end.tokens for end in ends)
    assert run.progress.left == 500 - run.progress.spent
    assert list(run) == told


def test_votes_and_verdicts(client: LongThink) -> None:
    run = client.solve("hello", decoder={"name": "best_of_n", "n": 6}, seed=4).wait()
    assert sum(run.progress.votes.values()) == 6
    assert set(run.progress.votes) == {"41", "42"}
    assert [end.verdict for end in run.progress.verdicts] == [True, True]


def test_traces_are_saved_loaded_and_replayed(client: LongThink, tmp_path: Path) -> None:
    run = client.solve("hello", decoder="rc", budget=200, seed=1)
    trace = run.trace
    trace.save(tmp_path / "trace.json")
    loaded = Trace.load(tmp_path / "trace.json")
    assert loaded == trace
    assert [event for _, event in loaded.replay()] == list(run)
    assert (loaded.text, loaded.progress()) == (run.text, run.progress)
    assert loaded.longthink["seed"] == 1
    (tmp_path / "bad.json").write_text('{"version": 9}')
    with pytest.raises(UnreadableTrace, match=r"bad\.json is no trace"):
        Trace.load(tmp_path / "bad.json")


def test_the_text_is_the_final_answer_where_the_decoder_prefers_another_one() -> None:
    replies = ["<think>a</think>it is \\boxed{1}", "<think>b</think>so", "<think>c</think>it is now \\boxed{2} maybe"]
    with (
        serving(base=ScriptedEngine(replies, model="base")) as live,
        LongThink(base_url=f"{live.url}/v1", max_retries=0) as client,
    ):
        run = client.solve("hello", decoder=RC(name="rc", turns=2, reasoning_tokens=4), model="base").wait()
    assert run.progress.text == "it is now \\boxed{2}\n\nit is \\boxed{1}"
    assert run.text == run.trace.text == "it is \\boxed{1}"


def said(chunks: Any) -> str:
    """Everything that a stream of chat chunks says."""
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    return "".join((delta.model_extra or {}).get("reasoning", "") + (delta.content or "") for delta in deltas)


def test_a_broken_stream_goes_on_where_it_stood(speaking: Live, client: LongThink) -> None:
    fields: Any = {"model": "base", "messages": HELLO, "stream": True, "seed": 3, "decoder": RC(name="rc", turns=9)}
    whole = said(client.chat.completions.create(**fields))
    calls = speaking.engine.calls
    with breaking(speaking.port) as proxy, LongThink(base_url=proxy.url, max_retries=0) as other:
        assert said(other.chat.completions.create(**fields)) == whole
        assert (proxy.cut, proxy.connections) == (3, 4)
    assert speaking.engine.calls - calls == 17


def test_a_broken_stream_of_a_response_goes_on_where_it_stood(speaking: Live) -> None:
    with breaking(speaking.port) as proxy, LongThink(base_url=proxy.url, max_retries=0) as other:
        decoder = RC(name="rc", turns=9)
        told = list(other.responses.create(model="base", input="hello", stream=True, decoder=decoder))
        assert (proxy.cut, proxy.connections) == (3, 4)
    assert [event.sequence_number for event in told] == list(range(len(told)))
    assert told[-1].type == "response.completed"


def test_a_stream_that_breaks_before_its_first_event_begins_no_second_run(speaking: Live) -> None:
    calls = speaking.engine.calls
    with breaking(speaking.port, after=0, times=2) as proxy, LongThink(base_url=proxy.url, max_retries=0) as other:
        assert other.solve("hello", decoder={"name": "rc", "turns": 2}, model="base").text
        assert proxy.cut == 2
    assert speaking.engine.calls - calls == 3


def test_a_stream_that_always_breaks_is_an_error_in_the_end(speaking: Live) -> None:
    with (
        breaking(speaking.port, after=0, times=10_000) as proxy,
        LongThink(base_url=proxy.url, max_retries=0) as other,
        pytest.raises(openai.APIConnectionError),
    ):
        other.solve("hello", **LONG).wait()


def test_broken_streams_are_the_callers_problem_where_nothing_can_be_resumed(speaking: Live) -> None:
    with breaking(speaking.port) as proxy, LongThink(base_url=proxy.url, max_retries=0) as other:
        create = other.chat.completions.create
        stream = create(model="base", messages=HELLO, stream=True, decoder="rc", resume=False)  # type: ignore[list-item]
        with pytest.raises(openai.APIConnectionError):
            list(stream)
        assert proxy.connections == 1


def test_closing_a_run_stops_it(speaking: Live, client: LongThink) -> None:
    with client.solve("hello", **LONG) as run:
        next(iter(run))
    assert run.status == "cancelled"
    assert run.poll() == "cancelled"
    assert until(lambda: speaking.engine.open_calls == 0, 5)
    with pytest.raises(Unfinished, match="cancelled"):
        _ = run.text
    assert run.trace.events


def test_a_stream_that_nobody_reads_any_more_is_stopped(speaking: Live, client: LongThink) -> None:
    stream = client.solve("hello", **LONG)
    for _ in stream:
        break
    del stream, _
    gc.collect()  # as with openai's streams, whose generator is part of a cycle
    assert until(lambda: speaking.engine.open_calls == 0, 5)


def test_a_run_that_the_server_does_not_keep_is_stopped_by_leaving(speaking: Live, client: LongThink) -> None:
    run = client.solve("hello", model="base:rc", budget=30_000, extra_body={"decoder": {"turns": 200}})
    next(iter(run))
    run.cancel()
    assert run.status == "cancelled"
    assert until(lambda: speaking.engine.open_calls == 0, 5)


def test_background_runs_are_started_polled_followed_and_stopped(speaking: Live, client: LongThink) -> None:
    run = client.start("hello", decoder={"name": "rc", "turns": 4}, budget=300, model="base")
    assert client.run(run.id).poll() in ("queued", "in_progress", "completed")
    assert run.text == client.run(run.id).text
    assert run.poll() == "completed"
    fetched = client.run(run.id).trace
    assert [event for _, event in fetched.events] == list(run)
    with client.start("hello", **LONG) as left:
        next(iter(left))
    assert (left.status, left.poll()) == ("in_progress", "in_progress")
    left = client.run(left.id)
    left.cancel()
    with pytest.raises(openai.APIError, match="cancelled"):
        left.wait()
    assert (left.status, left.poll()) == ("cancelled", "cancelled")


def test_errors_arrive_as_those_of_openai(client: LongThink) -> None:
    with pytest.raises(openai.BadRequestError) as found:
        client.solve("hello", decoder={"name": "rc", "turns": 0})
    assert (found.value.param, found.value.code) == ("decoder.turns", "invalid_value")
    with pytest.raises(openai.NotFoundError):
        client.solve("hello", model="nobody", decoder="rc")
    with pytest.raises(openai.NotFoundError):
        client.run("chatcmpl-nothing").wait()
    with LongThink(base_url="http://127.0.0.1:9/v1", max_retries=0) as lost, pytest.raises(openai.APIConnectionError):
        lost.solve("hello")


def test_everything_else_is_openais(client: LongThink) -> None:
    assert isinstance(client, openai.OpenAI)
    other = client.with_options(timeout=5)
    assert isinstance(other, LongThink)
    assert other.solve("hello", decoder="direct").text
    raw = client.chat.completions.with_raw_response.create(model="base", messages=HELLO, decoder="rc", stream=True)  # type: ignore[call-overload]
    assert raw.headers["content-type"].startswith("text/event-stream")
    raw.http_response.close()
    with client.chat.completions.stream(model="base", messages=HELLO) as events:  # type: ignore[arg-type]
        assert events.get_final_completion().choices[0].message.content
    assert {"base", "base:rc"} <= {model.id for model in client.models.list()}
    assert {"rc", "direct"} <= {decoder["id"] for decoder in client.decoders()}


def test_addresses_and_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LONGTHINK_BASE_URL", "LONGTHINK_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    found = LongThink()
    assert (str(found.base_url), found.api_key) == ("http://127.0.0.1:8000/v1/", "none")
    assert LongThink(base_url="http://there/v1").api_key == "secret"
    monkeypatch.setenv("LONGTHINK_BASE_URL", "http://ours/v1")
    monkeypatch.setenv("LONGTHINK_API_KEY", "own")
    found = LongThink()
    assert (str(found.base_url), found.api_key) == ("http://ours/v1/", "own")
    assert LongThink(api_key="given").api_key == "given"


@asynccontextmanager
async def fake_server() -> AsyncIterator[str]:
    server = Server(Fake(delay=0.0).handle)
    try:
        yield await server.start()
    finally:
        await server.aclose()


def test_any_openai_server_can_be_asked_without_a_decoder() -> None:
    async def main() -> None:
        async with fake_server() as url, AsyncLongThink(base_url=f"{url}/v1") as client:
            run = await (await client.solve("hello", budget=50)).wait()
            assert (run.text, run.usage.completion_tokens, run.status) == (" word" * 12, 12, "completed")
            assert run.progress.spent == 12
            done = await client.chat.completions.create(model=await client.default_model(), messages=HELLO)  # type: ignore[list-item]
            assert done.choices[0].message.content == " word" * 12

    asyncio.run(main())


def test_the_async_client_does_the_same(speaking: Live, client: LongThink) -> None:
    async def work(other: AsyncLongThink) -> None:
        run = await other.solve("hello", decoder={"name": "rc", "turns": 3}, budget=500, seed=1)
        with pytest.raises(Unfinished, match="queued"):
            _ = run.text
        told = [event async for event in run]
        same = client.solve("hello", decoder={"name": "rc", "turns": 3}, budget=500, seed=1).wait()
        assert (run.text, run.usage, run.trace.text) == (same.text, same.usage, same.text)
        assert run.progress == same.progress
        assert [event async for event in run] == told
        made = await other.responses.create(model="base", input="hi", decoder="rc", budget=70)
        assert made.max_output_tokens == 70
        assert await other.decoders() == client.decoders()

    asynchronously(speaking, work)


def test_the_async_client_resumes(speaking: Live) -> None:
    with breaking(speaking.port) as proxy:

        async def work(client: AsyncLongThink) -> None:
            run = await client.solve("hello", decoder={"name": "rc", "turns": 9}, model="base", seed=3)
            assert (await run.wait()).text
            assert proxy.cut == 3

        asynchronously(speaking, work, proxy.url)


def test_the_async_client_stops_runs_and_comes_back_to_them(speaking: Live) -> None:
    async def work(client: AsyncLongThink) -> None:
        async with await client.solve("hello", **LONG) as run:
            async for _ in run:
                break
        assert (run.status, await run.poll()) == ("cancelled", "cancelled")
        started = await client.start("hello", decoder={"name": "rc", "turns": 4}, model="base")
        assert (await started.wait()).text == (await client.run(started.id).wait()).text
        left = await client.start("hello", **LONG)
        await left.cancel()
        with pytest.raises(openai.APIError, match="cancelled"):
            await left.wait()

    asynchronously(speaking, work)


def test_a_cancelled_task_stops_its_run(speaking: Live) -> None:
    async def work(client: AsyncLongThink) -> None:
        run = await client.solve("hello", **LONG)
        task: Awaitable[Any] = asyncio.ensure_future(run.wait())
        await asyncio.wait([task], timeout=0.1)  # type: ignore[list-item]
        task.cancel()  # type: ignore[attr-defined]
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await run.poll() == "cancelled"

    asynchronously(speaking, work)


def test_a_run_is_stopped_that_has_not_said_anything_yet() -> None:
    async def work(client: AsyncLongThink) -> None:
        run = await client.solve("hello", decoder="rc", model="base")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(run.wait(), 0.2)
        assert (run.progress.steps, await run.poll()) == ({}, "cancelled")

    engine = ScriptedEngine(model="base", first_token_delay=60.0)
    with serving(base=engine) as live:
        asynchronously(live, work)
        with LongThink(base_url=f"{live.url}/v1", max_retries=0) as client:
            client.solve("hello", decoder="rc", model="base").close()
        assert until(lambda: engine.open_calls == 0, 5)
