"""The upstream without a model: it counts exactly, and fails as it is told."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from contextlib import aclosing
from typing import Any

import orjson
import pytest

from benchmarks.connection import BadResponse, Connection
from benchmarks.fake_upstream import Fake, Server

BODY = {"model": "fake", "messages": [{"role": "user", "content": "one two three"}], "max_tokens": 5}


def ask(fake: Fake, path: str = "/chat/completions", **fields: Any) -> tuple[int, bytes]:
    async def main() -> tuple[int, bytes]:
        server = Server(fake.handle)
        connection = Connection(f"{await server.start()}/v1")
        try:
            async with aclosing(connection.post(path, orjson.dumps({**BODY, **fields}))) as pieces:
                status, *rest = [piece async for piece in pieces]
                return int(status), b"".join(piece for piece in rest if isinstance(piece, bytes))
        finally:
            await connection.aclose()
            await server.aclose()

    return asyncio.run(main())


@pytest.mark.parametrize("token_delay", [0.0, 0.001])
@pytest.mark.parametrize("path", ["/chat/completions", "/completions"])
@pytest.mark.parametrize("n", [1, 3])
def test_streams_and_whole_replies_say_and_count_the_same(token_delay: float, path: str, n: int) -> None:
    fake = Fake(delay=0.0, token_delay=token_delay)
    status, data = ask(fake, path, n=n)
    whole = orjson.loads(data)
    texts = [choice["message"]["content"] if "chat" in path else choice["text"] for choice in whole["choices"]]
    assert (status, texts) == (200, [" word" * 5] * n)
    assert whole["usage"] == {"prompt_tokens": 3, "completion_tokens": 5 * n, "total_tokens": 3 + 5 * n}
    status, data = ask(fake, path, n=n, stream=True, stream_options={"include_usage": True})
    *events, done = [line.removeprefix(b"data: ") for line in data.split(b"\n\n") if line]
    *pieces, last = map(orjson.loads, events)
    assert (done, last["usage"], last["choices"]) == (b"[DONE]", whole["usage"], [])
    streamed = [""] * n
    for choice in (piece["choices"][0] for piece in pieces):
        streamed[choice["index"]] += choice["delta"].get("content", "") if "chat" in path else choice["text"]
    assert streamed == texts


def test_failures_come_as_ordered() -> None:
    fake = Fake(delay=0.0, status=503, every=2)
    assert [ask(fake)[0] for _ in range(4)] == [200, 503, 200, 503]
    with pytest.raises(BadResponse):
        ask(Fake(delay=0.0, drop=0))
    with pytest.raises(BadResponse):
        ask(Fake(delay=0.0, drop=2), stream=True)


def test_the_command_serves_until_it_is_stopped() -> None:
    command = [sys.executable, "-m", "benchmarks", "fake-upstream", "--port", "0", "--model", "a", "--model", "b"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().endswith("/v1 models a, b\n")
        process.terminate()  # an interrupt would be ignored where the tests run in the background
        assert process.wait(10) == -signal.SIGTERM
