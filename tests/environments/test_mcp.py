"""MCP against servers of the official SDK in both eras, and against what no server should send."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import uvicorn
from aiohttp import web

from decoders.core.errors import EnvironmentFailed
from decoders.environments.base import Observation
from decoders.environments.mcp_client import LEGACY, MODERN, McpClient
from decoders.environments.options import McpOptions
from tests.environments.support import opened, run

MCPServer = pytest.importorskip("mcp.server", reason="pip install 'mcp>=2'").MCPServer
ToolError = pytest.importorskip("mcp.server.mcpserver.exceptions").ToolError


def options(url: str, **fields: Any) -> McpOptions:
    return McpOptions.model_validate({"kind": "mcp", "url": url, **fields})


def call(name: str, **arguments: Any) -> str:
    return json.dumps({"name": name, "arguments": arguments})


def game() -> Any:
    """A server with episodes."""
    server = MCPServer("game")
    episodes: dict[str, int] = {}

    @server.tool()
    def reset(seed: int = 0) -> dict[str, Any]:
        if seed < 0:
            raise ToolError("a seed is not negative")
        episodes[name := f"e{len(episodes)}"] = seed
        return {
            "episode": name,
            "observation": f"the number has {len(str(seed))} digits",
            "goal": "guess",
            "done": False,
        }

    @server.tool()
    def guess(episode: str, number: int) -> dict[str, Any]:
        """Guess it."""
        right = episodes[episode] == number
        return {"observation": "yes" if right else "no", "reward": float(right), "done": right}

    @server.tool()
    def close(episode: str) -> str:
        del episodes[episode]
        return "closed"

    server.episodes = episodes
    return server


def box() -> Any:
    """A server of plain tools."""
    server = MCPServer("box")

    @server.tool()
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    @server.tool()
    def fail() -> str:
        raise ToolError("it does not work")

    @server.tool()
    def large() -> str:
        return "A" * 3_000_000

    return server


class OldWorld:
    """Refuses the new protocol as servers from before it do, and passes everything else on."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        headers = dict(scope.get("headers", ()))
        if headers.get(b"mcp-protocol-version") == MODERN.encode():
            await send({"type": "http.response.start", "status": 400, "headers": []})
            await send({"type": "http.response.body", "body": b"Bad Request: Unsupported protocol version"})
            return
        await self._app(scope, receive, send)


@asynccontextmanager
async def served(server: Any, *, era: str, json_response: bool) -> AsyncGenerator[str, None]:
    app = server.streamable_http_app(json_response=json_response)
    config = uvicorn.Config(OldWorld(app) if era == "old" else app, log_level="warning", ws="none")
    running = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.ensure_future(running.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    finally:
        running.should_exit = True
        await task
        listener.close()


both = pytest.mark.parametrize(("era", "json_response"), [("new", True), ("new", False), ("old", True), ("old", False)])


@both
def test_an_episode(era: str, json_response: bool) -> None:
    async def main() -> None:
        server = game()
        async with served(server, era=era, json_response=json_response) as url:
            async with opened(options(url), seed=42) as episode:
                begun = await episode.start()
                assert (begun.text, begun.goal, begun.reward) == ("the number has 2 digits", "guess", None)
                [tool] = json.loads(begun.tools)
                assert tool["function"]["name"] == "guess"
                assert list(tool["function"]["parameters"]["properties"]) == ["number"]
                assert await episode.step(call("guess", number=1)) == Observation("no", reward=0.0)
                assert (await episode.step(call("guess", number="x"))).error
                assert (await episode.step(call("reset"))).error
                assert await episode.step(call("guess", number=42)) == Observation("yes", reward=1.0, done=True)
                assert len(server.episodes) == 1
            assert server.episodes == {}

    run(main())


@both
def test_plain_tools_have_no_reward(era: str, json_response: bool) -> None:
    async def main() -> None:
        async with (
            served(box(), era=era, json_response=json_response) as url,
            opened(options(url, max_observation_chars=100, tools=["add", "fail", "large"])) as episode,
        ):
            begun = await episode.start()
            assert [tool["function"]["name"] for tool in json.loads(begun.tools)] == ["add", "fail", "large"]
            assert await episode.step(call("add", a=1, b=2)) == Observation("3")
            failed = await episode.step(call("fail"))
            assert failed.error
            assert "it does not work" in failed.text
            large = await episode.step(call("large"))
            assert large.text.endswith("of 3000000 characters]")
            assert (await episode.step("add 1 and 2")).error

    run(main())


def test_only_the_tools_of_the_configuration() -> None:
    async def main() -> None:
        async with served(box(), era="new", json_response=True) as url, opened(options(url, tools=["add"])) as episode:
            assert [tool["function"]["name"] for tool in json.loads((await episode.start()).tools)] == ["add"]
            seen = await episode.step(call("fail"))
            assert seen == Observation("there is no tool 'fail': there are add", error=True)

    run(main())


def test_what_the_server_refuses_at_the_start() -> None:
    async def main() -> None:
        async with served(game(), era="new", json_response=True) as url, opened(options(url), seed=-1) as episode:
            with pytest.raises(EnvironmentFailed, match="a seed is not negative"):
                await episode.start()

    run(main())


@pytest.mark.parametrize(("era", "version", "session"), [("new", MODERN, False), ("old", LEGACY, True)])
def test_the_era_is_found_and_the_session_left(era: str, version: str, session: bool) -> None:
    async def main() -> None:
        async with served(box(), era=era, json_response=True) as url, aiohttp.ClientSession() as http:
            client = McpClient(http, url)
            await client.connect()
            assert client.era == version
            assert (client._session is not None) is session
            await client.aclose()
            assert client._session is None

    run(main())


@asynccontextmanager
async def answering(answer: Callable[[Any, web.Request], Any]) -> AsyncGenerator[str, None]:
    """A server that answers as a function of the message."""

    async def handle(request: web.Request) -> web.StreamResponse:
        message = await request.json()
        result = answer(message, request)
        if isinstance(result, web.StreamResponse):
            return result
        return web.json_response({"jsonrpc": "2.0", "id": message.get("id"), "result": result})

    app = web.Application()
    app.router.add_post("/mcp", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
    finally:
        await runner.cleanup()


def test_pages_of_tools_and_parameters_in_headers() -> None:
    seen: list[tuple[str, str | None, str | None]] = []
    mirrored = {"type": "object", "properties": {"city": {"type": "string", "x-mcp-header": "City"}}}

    def answer(message: Any, request: web.Request) -> Any:
        head = request.headers
        seen.append((head["mcp-method"], head.get("mcp-name"), head.get("mcp-param-city")))
        if message["method"] == "tools/list":
            if "cursor" in message["params"]:
                return {"tools": [{"name": "wärme", "inputSchema": mirrored}]}
            return {"tools": [{"name": "one"}], "nextCursor": "2"}
        return {"content": [{"type": "text", "text": "cold"}, {"type": "image", "data": "", "mimeType": "image/png"}]}

    async def main() -> None:
        async with answering(answer) as url, opened(options(url)) as episode:
            begun = await episode.start()
            assert [tool["function"]["name"] for tool in json.loads(begun.tools)] == ["one", "wärme"]
            assert await episode.step(call("wärme", city="Köln")) == Observation("cold\n[image]")

    run(main())
    encoded = ("tools/call", "=?base64?d8Okcm1l?=", "=?base64?S8O2bG4=?=")
    assert [entry[0] for entry in seen] == ["server/discover", "tools/list", "tools/list", "tools/call"]
    assert seen[-1] == encoded


def _events(*lines: str) -> web.Response:
    return web.Response(text="\n".join([*lines, "", ""]), content_type="text/event-stream")


def test_other_messages_in_a_stream_are_passed_over() -> None:
    def answer(message: Any, request: web.Request) -> Any:
        if message["method"] != "tools/call":
            return {"tools": [{"name": "t"}]}
        note = json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {}})
        result = {"jsonrpc": "2.0", "id": message["id"], "result": {"content": [{"type": "text", "text": "here"}]}}
        return _events(
            ": hello", "id: 1", "data:", "", f"data: {note}", "", "event: message", f"data: {json.dumps(result)}"
        )

    async def main() -> None:
        async with answering(answer) as url, opened(options(url)) as episode:
            await episode.start()
            assert (await episode.step(call("t"))).text == "here"

    run(main())


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (lambda: web.Response(body=b"\x00\xff", content_type="application/octet-stream"), "not JSON"),
        (lambda: web.json_response([1]), "no answer"),
        (lambda: _events("data: {"), "not JSON"),
        (lambda: _events("data: {}"), "before the result"),
        (lambda: web.Response(status=401), "refuses access"),
        (lambda: web.Response(status=503, text="later"), r"refused the request \(503\)"),
    ],
)
def test_what_is_not_the_protocol_ends_the_episode(reply: Callable[[], web.Response], told: str) -> None:
    def answer(message: Any, request: web.Request) -> Any:
        return reply() if message["method"] == "tools/call" else {"tools": [{"name": "t"}]}

    async def main() -> None:
        async with answering(answer) as url, opened(options(url)) as episode:
            await episode.start()
            with pytest.raises(EnvironmentFailed, match=told):
                await episode.step(call("t"))

    run(main())


def test_a_key_is_sent_and_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    keys: list[str | None] = []

    def answer(message: Any, request: web.Request) -> Any:
        keys.append(request.headers.get("Authorization"))
        return web.Response(status=401)

    async def main() -> str:
        async with answering(answer) as url, opened(options(url, api_key="secret-key")) as episode:
            with pytest.raises(EnvironmentFailed) as failure:
                await episode.start()
            return f"{failure.value!r} {options(url, api_key='secret-key')!r}"

    with caplog.at_level(logging.DEBUG):
        told = run(main())
    assert keys[0] == "Bearer secret-key"
    assert "secret-key" not in told + caplog.text


def test_a_server_that_hangs_up_or_is_not_there() -> None:
    async def main() -> None:
        async with opened(options("http://127.0.0.1:9/mcp")) as episode:
            with pytest.raises(EnvironmentFailed, match="cannot be reached"):
                await episode.start()

    run(main())
