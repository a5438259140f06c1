"""`longthink bench fake-upstream`: an OpenAI-compatible server without a model, to measure what stands before one.

Rule: it counts exactly, and costs so little that what is measured is not it: 0.04 ms of CPU for a reply of 12 tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import httptools
import orjson

from benchmarks import cli
from benchmarks.event_loop import run

_REASONS = {200: b"OK", 404: b"Not Found", 429: b"Too Many Requests", 503: b"Service Unavailable"}


@dataclass(slots=True)
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body, decoded."""
        found: dict[str, Any] = orjson.loads(self.body)
        return found


Handler = Callable[[Request, "Exchange"], Awaitable[None]]


class Exchange:
    """The answer to one request, whole or piece by piece; `left` once the client has gone."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.begun = False

    @property
    def left(self) -> bool:
        """Whether the client has closed the connection."""
        return self._transport.is_closing()

    def whole(self, status: int, content: object, headers: Sequence[tuple[str, str]] = ()) -> None:
        """A complete response."""
        body = content if isinstance(content, bytes) else orjson.dumps(content)
        extra = "".join(f"{name}: {text}\r\n" for name, text in headers).encode()
        head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n"
        self.begun = True
        self._transport.write(head % (status, _REASONS.get(status, b"Status"), len(body), extra) + body)

    def send(self, data: bytes) -> None:
        """The next piece of a stream."""
        head = b""
        if not self.begun:
            self.begun = True
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        self._transport.write(b"%b%x\r\n%b\r\n" % (head, len(data), data))

    def end(self) -> None:
        """The end of a stream."""
        self._transport.write(b"0\r\n\r\n")

    def raw(self, data: bytes) -> None:
        """Bytes as they are, HTTP or not."""
        self._transport.write(data)

    def drop(self) -> None:
        """Close the connection without another word."""
        self._transport.close()


class Connection(asyncio.Protocol):
    """One keep-alive connection: a task a request."""

    def __init__(self, handler: Handler, peers: set[Connection]) -> None:
        self._handler, self._peers = handler, peers
        self._task: asyncio.Task[None] | None = None
        self._reset()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self.transport = cast("asyncio.Transport", transport)
        self._peers.add(self)
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """The client has gone: what is being said to it ends."""
        self._peers.discard(self)
        if self._task is not None:
            self._task.cancel()

    def on_url(self, url: bytes) -> None:
        """Called by the parser, as are the following."""
        self._path = url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """The request is complete."""
        request = Request(self._parser.get_method().decode(), self._path, self._headers, self._body)
        self._reset()
        self._task = asyncio.ensure_future(self._handler(request, Exchange(self.transport)))

    def _reset(self) -> None:
        self._path, self._headers, self._body = "", dict[str, str](), b""


class Server:
    """Listens on 127.0.0.1 and hands every request to `handler`."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.connections: set[Connection] = set()

    async def start(self, port: int = 0) -> str:
        """The URL."""
        loop = asyncio.get_running_loop()
        made = await loop.create_server(
            lambda: Connection(self._handler, self.connections), "127.0.0.1", port, backlog=1024
        )
        self._server = made
        return f"http://127.0.0.1:{made.sockets[0].getsockname()[1]}"

    async def aclose(self) -> None:
        """Stop listening and drop all connections."""
        self._server.close()
        for connection in list(self.connections):
            connection.transport.abort()
        await asyncio.sleep(0)


@dataclass
class Fake:
    """Answers everything with the same words, one token each, after `delay` seconds.

    Without `token_delay` a stream's tokens come in one piece. Of every `every` completions one fails: with `status`, or
    by a connection that is dropped before (`drop` 0) or after that many tokens. `GET /calls` tells how many there were.
    """

    models: Sequence[str] = ("fake",)
    owned_by: str = "fake"
    tokens: int = 12
    delay: float = 0.02
    token_delay: float = 0.0
    status: int | None = None
    drop: int | None = None
    every: int = 1
    calls: int = 0
    bodies: list[dict[str, Any]] | None = None
    _events: dict[tuple[int, bool], list[bytes]] = field(default_factory=dict)

    async def handle(self, request: Request, exchange: Exchange) -> None:
        """One request."""
        if request.method == "GET":
            self._get(request.path, exchange)
            return
        body = request.json()
        if self.bodies is not None:
            self.bodies.append(body)
        self.calls += 1
        await asyncio.sleep(self.delay)
        chat = request.path.endswith("/chat/completions")
        failing = self.calls % self.every == 0
        if failing and self.status is not None:
            exchange.whole(self.status, {"error": {"message": "as ordered", "type": "fake", "param": None}})
        elif failing and self.drop == 0:
            exchange.drop()
        elif body.get("stream"):
            await self._stream(body, chat, exchange, self.drop if failing else None)
        else:
            exchange.whole(200, self._completion(body, chat))

    def _get(self, path: str, exchange: Exchange) -> None:
        if path == "/health":
            exchange.whole(200, {})
        elif path == "/calls":
            exchange.whole(200, {"calls": self.calls})
        elif path == "/v1/models":
            data = [{"id": model, "object": "model", "owned_by": self.owned_by} for model in self.models]
            exchange.whole(200, {"object": "list", "data": data})
        else:
            exchange.whole(404, {"error": {"message": f"there is no {path}"}})

    def _words(self, body: dict[str, Any]) -> list[str]:
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or self.tokens
        return [" word"] * min(self.tokens, limit)

    def _usage(self, body: dict[str, Any], n: int) -> dict[str, int]:
        size = sum(len(str(message.get("content", "")).split()) for message in body.get("messages", ()))
        generated = n * len(self._words(body))
        return {"prompt_tokens": size, "completion_tokens": generated, "total_tokens": size + generated}

    def _completion(self, body: dict[str, Any], chat: bool) -> dict[str, Any]:
        text, n = "".join(self._words(body)), body.get("n") or 1
        said: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        choices = [{"index": i, **said, "logprobs": None, "finish_reason": "stop"} for i in range(n)]
        kind = "chat.completion" if chat else "text_completion"
        return {**_head(body, kind), "choices": choices, "usage": self._usage(body, n)}

    async def _stream(self, body: dict[str, Any], chat: bool, exchange: Exchange, cut: int | None) -> None:
        n = body.get("n") or 1
        kind = "chat.completion.chunk" if chat else "text_completion"
        head = b"data: " + orjson.dumps(_head(body, kind))[:-1] + b',"choices":['
        word = b'"delta":{"content":" word"}' if chat else b'"text":" word"'
        piece = b'%b{"index":%%d,%b,"logprobs":null,"finish_reason":null}]}\n\n' % (head.replace(b"%", b"%%"), word)
        rounds = len(self._words(body)) if cut is None else cut
        if self.token_delay:
            for _ in range(rounds):
                exchange.send(b"".join([piece % i for i in range(n)]))
                await asyncio.sleep(self.token_delay)
            data = b""
        else:
            data = b"".join([piece % i for i in range(n)]) * rounds
        if cut is not None:
            exchange.send(data)
            exchange.drop()
            return
        last = b'"delta":{}' if chat else b'"text":""'
        data += b"".join(b'%b{"index":%d,%b,"finish_reason":"stop"}]}\n\n' % (head, i, last) for i in range(n))
        if (body.get("stream_options") or {}).get("include_usage"):
            data += head + b'],"usage":' + orjson.dumps(self._usage(body, n)) + b"}\n\n"
        exchange.send(data + b"data: [DONE]\n\n")
        exchange.end()


def _head(body: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "fake-1", "object": kind, "created": int(time.time()), "model": body.get("model", "")}


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = cli.parser("fake-upstream", __doc__)
    made.add_argument("--port", type=int, default=8001, help="default: 8001; 0 takes a free one")
    made.add_argument("--model", action="append", help="a model it has, may be given more than once (default: fake)")
    made.add_argument("--owned-by", default="fake", help="what it says it is: vllm, sglang, … (default: fake)")
    made.add_argument("--delay", type=float, default=20, help="milliseconds before an answer (default: 20)")
    made.add_argument("--token-delay", type=float, default=0, help="milliseconds between tokens of a stream")
    made.add_argument("--tokens", type=int, default=12, help="tokens of an answer (default: 12)")
    made.add_argument("--status", type=int, help="fail with this status")
    made.add_argument("--drop", type=int, metavar="TOKENS", help="fail by closing the connection after so many tokens")
    made.add_argument("--every", type=int, default=1, help="fail one of so many requests (default: 1, all of them)")
    return made


async def serve(options: argparse.Namespace) -> None:
    """Until it is stopped."""
    fake = Fake(
        models=options.model or ["fake"],
        owned_by=options.owned_by,
        tokens=options.tokens,
        delay=options.delay / 1000,
        token_delay=options.token_delay / 1000,
        status=options.status,
        drop=options.drop,
        every=options.every,
    )
    url = await Server(fake.handle).start(options.port)
    print(f"fake upstream {url}/v1 models {', '.join(fake.models)}", flush=True)
    await asyncio.Event().wait()


def main(argv: Sequence[str]) -> int:
    """Serve until interrupted."""
    options = parser().parse_args(argv)
    try:
        run(serve(options))
    except KeyboardInterrupt:
        return 0
    except OSError as error:
        print(f"longthink bench fake-upstream: {error}", file=sys.stderr)
        return 2
    return 0
