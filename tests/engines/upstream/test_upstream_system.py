"""Servers in processes of their own: one is killed under load; a longthink stands before another longthink."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from decoders.core.messages import Message, Prompt
from decoders.core.task import Model
from decoders.prompts import Pack
from server.engines.upstream import connect
from server.model_options import ModelOptions
from tests.engines.upstream.support import QUICK, complete, run
from tests.server.conftest import Live, serving

HELLO = Prompt((Message("user", "hello there"),))


@contextmanager
def fake(*arguments: str) -> Iterator[tuple[str, int]]:
    """URL and process of a fake upstream."""
    command = [sys.executable, "-m", "benchmarks", "fake-upstream", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[2], process.pid
        process.kill()


def test_a_host_killed_under_load_costs_no_request_that_had_not_begun() -> None:
    async def main(urls: list[str], victim: int) -> None:
        options = ModelOptions(upstream=list(urls), upstream_options={**QUICK, "health_seconds": 0.2})
        engine = (await connect(options))["fake"]
        done = 0

        async def client() -> None:
            nonlocal done
            for _ in range(30):
                (completion,) = await complete(engine)
                assert completion.completion_tokens == 12
                done += 1
                if done == 100:
                    os.kill(victim, signal.SIGKILL)

        try:
            await asyncio.gather(*(client() for _ in range(16)))
            states = [host.breaker.state for host in engine.pool.hosts]
            assert (done, states) == (480, ["open", "closed"])
        finally:
            await engine.aclose()

    with ExitStack() as stack:
        # nothing has been said when the delay is over, and then everything at once
        one, two = (stack.enter_context(fake("--delay", "20")) for _ in range(2))
        run(lambda: main([one[0], two[0]], one[1]))


@pytest.fixture(scope="module")
def behind() -> Iterator[Live]:
    with serving() as running:
        yield running


def test_another_longthink_is_an_upstream(behind: Live) -> None:
    async def main() -> None:
        options = ModelOptions(upstream=[f"{behind.url}/v1"], upstream_options=QUICK)
        engines = await connect(options)
        assert list(engines) == ["base"]
        engine = engines["base"]
        try:
            assert engine.pool.hosts[0].known.name == "longthink"
            assert engine.context_length == 131_072
            one, two = await complete(engine, HELLO, n=2, seed=3)
            assert one.answer == "You said: hello there"
            assert one.reasoning.startswith("I was asked 2 words")
            assert one.reasoning != two.reasoning
            told = behind.ask(seed=3).json()["usage"]
            assert (one.completion_tokens, one.prompt_tokens) == (told["completion_tokens"], told["prompt_tokens"])
            (more,) = await complete(engine, Prompt((Message("user", "hello there"),), prefix="</think>So"))
            assert more.text
            (bare,) = await complete(engine, Prompt(text="once upon a time"), seed=1)
            assert bare.prompt_tokens == 4
            assert one.answer_tokens == one.completion_tokens - told["completion_tokens_details"]["reasoning_tokens"]
        finally:
            await engine.aclose()

    run(main)


def test_a_server_over_an_upstream_answers_as_the_upstream_does(behind: Live) -> None:
    options = ModelOptions(upstream=[f"{behind.url}/v1"], served_name="front", upstream_options=QUICK)

    async def main() -> None:
        from server.app import create_app
        from server.settings import Settings

        engines = await connect(options)
        app = create_app(Settings(engine="scripted"), {n: Model(e, Pack.load("plain")) for n, e in engines.items()})
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://front") as client:
            for decoder in ("direct", {"name": "self_consistency", "n": 3}, "rc"):
                body = {"messages": [{"role": "user", "content": "hello there"}], "seed": 1, "decoder": decoder}
                reply = (await client.post("/v1/chat/completions", json={"model": "front", **body})).json()
                told = behind.ask(**body).json()
                assert reply["usage"] == told["usage"]
                shown, expected = (r["choices"][0]["message"] for r in (reply, told))
                assert shown["content"] == expected["content"]
        for engine in engines.values():
            await engine.aclose()

    run(main)
