"""Scripted upstreams on real sockets, in the loop of the test, and engines over them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any, TypeVar

import orjson

from benchmarks.fake_upstream import Exchange, Request, Server
from decoders.core.engine import Chunk
from decoders.core.messages import Message, Prompt, Sampling
from decoders.core.recorder import Recorder
from decoders.core.trace import Completion
from server.engines.upstream import UpstreamEngine, connect
from server.model_options import ModelOptions, UpstreamHost

T = TypeVar("T")

Answer = Callable[[Request, Exchange], Awaitable[None]]

HELLO = Prompt((Message("user", "hello there"),))
QUICK = {"backoff_seconds": 0.01, "health_seconds": 0.03, "connect_seconds": 10.0}


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return asyncio.run(asyncio.wait_for(main(), 20))


class Upstream:
    """Answers completions with `answers` in turn, the last one again and again."""

    def __init__(self, *answers: Answer, models: Sequence[str] = ("m",), owned_by: str = "fake", **entry: Any) -> None:
        self.answers = list(answers) or [say("hi")]
        self.entries = [{"id": model, "owned_by": owned_by, **entry} for model in models]
        self.requests: list[Request] = []
        self.gets: list[Request] = []
        self.health = 200
        self.models_status = 200
        self.in_progress = self.most = self.aborted = 0
        self.routes: dict[str, Any] = {}
        self.url = ""
        self.running = False
        self._server = Server(self._handle)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [request.json() for request in self.requests]

    async def start(self) -> None:
        port = int(self.url.rsplit(":", 1)[1].split("/")[0]) if self.url else 0
        self.url = f"{await self._server.start(port)}/v1"
        self.running = True

    async def stop(self) -> None:
        self.running = False
        await self._server.aclose()

    @property
    def connections(self) -> int:
        return len(self._server.connections)

    async def _handle(self, request: Request, exchange: Exchange) -> None:
        if request.path in self.routes:
            exchange.whole(200, self.routes[request.path](request))
        elif request.method == "GET":
            self.gets.append(request)
            if request.path == "/v1/models":
                exchange.whole(self.models_status, {"object": "list", "data": self.entries})
            else:
                exchange.whole(self.health, {})
        else:
            await self._answer(request, exchange)

    async def _answer(self, request: Request, exchange: Exchange) -> None:
        answer = self.answers[min(len(self.requests), len(self.answers) - 1)]
        self.requests.append(request)
        self.in_progress += 1
        self.most = max(self.most, self.in_progress)
        try:
            await answer(request, exchange)
        except asyncio.CancelledError:
            self.aborted += 1
            raise
        finally:
            self.in_progress -= 1


def event(
    delta: dict[str, Any] | None = None, *, index: int = 0, finish: str | None = None, **more: Any
) -> dict[str, Any]:
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    top = {name: more.pop(name) for name in ("usage", "error") if name in more}
    return {"object": "chat.completion.chunk", "choices": [{**choice, **more}], **top}


def usage(completion: int, prompt: int = 7, **more: Any) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion, **more}}


def events(*items: dict[str, Any], done: bool = True) -> Answer:
    """A stream of these events, each in a piece of its own."""

    async def answer(request: Request, exchange: Exchange) -> None:
        for item in items:
            exchange.send(b"data: " + orjson.dumps(item) + b"\n\n")
            await asyncio.sleep(0)
        if done:
            exchange.send(b"data: [DONE]\n\n")
        exchange.end()

    return answer


def say(*words: str, tokens: int | None = None) -> Answer:
    """One event a word, and a usage of as many tokens unless told otherwise."""
    told = len(words) if tokens is None else tokens
    return events(*(event({"content": word}) for word in words), event(finish="stop"), usage(told))


def fail(status: int, message: str = "no", headers: Sequence[tuple[str, str]] = (), **error: Any) -> Answer:
    async def answer(request: Request, exchange: Exchange) -> None:
        exchange.whole(status, {"error": {"message": message, **error}}, headers)

    return answer


def raw(data: bytes) -> Answer:
    """These bytes, whatever they are, and the end of the connection."""

    async def answer(request: Request, exchange: Exchange) -> None:
        exchange.raw(data)
        exchange.drop()

    return answer


def late(*pieces: bytes) -> Answer:
    """These bytes, each in a packet of its own, and the end of the connection."""

    async def answer(request: Request, exchange: Exchange) -> None:
        for piece in pieces:
            exchange.raw(piece)
            await asyncio.sleep(0.01)
        exchange.drop()

    return answer


def hang(*items: dict[str, Any]) -> Answer:
    """Says these events and nothing more."""

    async def answer(request: Request, exchange: Exchange) -> None:
        for item in items:
            exchange.send(b"data: " + orjson.dumps(item) + b"\n\n")
        await asyncio.Event().wait()

    return answer


@asynccontextmanager
async def engines(*upstreams: Upstream, **fields: Any) -> AsyncGenerator[dict[str, UpstreamEngine], None]:
    """Start the upstreams and connect to them; `fields` are those of `ModelOptions`, of a host, or of its options."""
    async with AsyncExitStack() as stack:
        for upstream in upstreams:
            if not upstream.running:
                await upstream.start()
                stack.push_async_callback(upstream.stop)
        own = {name: fields.pop(name) for name in list(fields) if name in ModelOptions.model_fields}
        host = {name: fields.pop(name) for name in list(fields) if name in UpstreamHost.model_fields}
        hosts = [UpstreamHost(url=upstream.url, **host) for upstream in upstreams]
        options = ModelOptions(upstream=hosts, upstream_options={**QUICK, **fields}, **own)
        made = await connect(options)
        for engine in made.values():
            stack.push_async_callback(engine.aclose)
        yield made


@asynccontextmanager
async def engine(*upstreams: Upstream, **fields: Any) -> AsyncGenerator[UpstreamEngine, None]:
    """The engine of the first model."""
    async with engines(*upstreams, **fields) as made:
        yield next(iter(made.values()))


async def chunks(engine: UpstreamEngine, prompt: Prompt = HELLO, **sampling: Any) -> list[Chunk]:
    found = []
    async with aclosing(engine.generate(prompt, Sampling(**{"max_tokens": 100, **sampling}))) as stream:
        async for chunk in stream:
            found.append(chunk)
    return found


async def complete(engine: UpstreamEngine, prompt: Prompt = HELLO, **sampling: Any) -> list[Completion]:
    """The completions as a run records them."""
    recorders = [Recorder(str(i), "solve", final=True) for i in range(sampling.get("n", 1))]
    for chunk in await chunks(engine, prompt, **sampling):
        recorders[chunk.index].feed(chunk)
    assert all(recorder.finish for recorder in recorders)
    return [recorder.completion() for recorder in recorders]


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Waits for a condition."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - conditions of all kinds
            await asyncio.sleep(0.002)
