"""The wire of OpenEnv against a server written here from its description, faults included."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from decoders.core.errors import EnvironmentFailed
from decoders.environments.base import Observation
from decoders.environments.options import OpenEnvOptions
from decoders.environments.wording import cut
from tests.environments.support import opened, run, until

TEXT = {"title": "EchoAction", "properties": {"message": {"type": "string"}, "metadata": {"type": "object"}}}
SEVERAL = {"title": "Move", "properties": {"x": {"type": "integer"}, "how": {"type": "string"}}, "required": ["x"]}
CALLS = {"title": "CallToolAction", "properties": {"tool_name": {"type": "string"}, "arguments": {"type": "object"}}}


class Server:
    """Answers steps by what they say, and remembers what it was sent."""

    def __init__(self, action: Any) -> None:
        self.action = action
        self.received: list[Any] = []
        self.schemas = 0
        self.headers: list[str | None] = []
        self.left = asyncio.Event()

    async def schema(self, request: web.Request) -> web.Response:
        self.schemas += 1
        return web.json_response({"action": self.action, "observation": {}, "state": {}})

    async def converse(self, request: web.Request) -> web.WebSocketResponse:
        self.headers.append(request.headers.get("Authorization"))
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        async for message in socket:
            asked = json.loads(message.data)
            self.received.append(asked)
            if asked["type"] == "close":
                break
            data = asked["data"]
            if asked["type"] == "reset":
                await self.seen(socket, {"prompt": "begin", "goal": "win", "metadata": {"x": 1}})
            elif data.get("type") == "list_tools":
                about = {"name": "add", "description": "adds", "input_schema": {"type": "object"}}
                await self.seen(socket, {"tools": [about]})
            elif data.get("type") == "call_tool":
                await self.called(socket, data)
            else:
                await self.step(socket, data.get("message", json.dumps(data)))
        self.left.set()
        return socket

    async def called(self, socket: web.WebSocketResponse, data: Any) -> None:
        if data["tool_name"] == "add":
            await self.seen(socket, {"tool_name": "add", "result": str(sum(data["arguments"].values()))}, 1, True)
        else:
            wrong = {"error_type": "tool_not_found", "message": "no such tool"}
            await self.seen(socket, {"tool_name": data["tool_name"], "result": None, "error": wrong})

    async def step(self, socket: web.WebSocketResponse, word: str) -> None:
        match word:
            case "big":
                await self.seen(socket, {"text": "A" * 10_000_000})
            case "binary":
                await socket.send_bytes(b"\x00\xff" * 100)
            case "junk":
                await socket.send_str("<html>")
            case "other":
                await socket.send_str('{"type": "state", "data": {}}')
            case "reward":
                await self.seen(socket, {"text": ""}, "much")
            case "leave":
                await socket.close(code=1011, message=b"out of memory")
            case "die":
                assert socket._req is not None
                assert socket._req.transport is not None
                socket._req.transport.abort()
            case "hang":
                await asyncio.Event().wait()
            case "refuse":
                data = {"message": "not like this", "code": "VALIDATION_ERROR"}
                await socket.send_str(json.dumps({"type": "error", "data": data}))
            case "broken":
                await socket.send_str(json.dumps({"type": "error", "data": {"message": "x", "code": "SESSION_ERROR"}}))
            case _:
                await self.seen(socket, {"text": f"you said {word}"}, 0.5, word == "win")

    async def seen(
        self, socket: web.WebSocketResponse, observation: Any, reward: Any = None, done: bool = False
    ) -> None:
        data = {"observation": observation, "reward": reward, "done": done}
        await socket.send_str(json.dumps({"type": "observation", "data": data}))


@asynccontextmanager
async def served(action: Any = TEXT) -> AsyncGenerator[tuple[Server, str], None]:
    server = Server(action)
    app = web.Application()
    app.router.add_get("/env/schema", server.schema)
    app.router.add_get("/env/ws", server.converse)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield server, f"127.0.0.1:{runner.addresses[0][1]}/env"
    finally:
        await runner.cleanup()


def options(url: str, **fields: Any) -> OpenEnvOptions:
    return OpenEnvOptions.model_validate({"kind": "openenv", "url": url, **fields})


@pytest.mark.parametrize("form", ["ws://{}/ws", "http://{}", "http://{}/"])
def test_an_episode_in_text(form: str) -> None:
    async def main() -> None:
        async with served() as (server, place):
            async with opened(options(form.format(place), api_key="secret"), seed=3, level=2) as episode:
                assert await episode.start() == Observation("begin", goal="win")
                assert await episode.step("hello") == Observation("you said hello", reward=0.5)
                assert await episode.step("win") == Observation("you said win", reward=0.5, done=True)
            await server.left.wait()
            assert server.received == [
                {"type": "reset", "data": {"seed": 3, "level": 2}},
                {"type": "step", "data": {"message": "hello"}},
                {"type": "step", "data": {"message": "win"}},
                {"type": "close"},
            ]
            assert (server.schemas, server.headers) == (1, ["Bearer secret"])

    run(main())


def test_actions_of_several_fields_are_offered_as_a_tool() -> None:
    async def main() -> None:
        async with served(SEVERAL) as (server, place), opened(options(f"http://{place}")) as episode:
            begun = await episode.start()
            [tool] = json.loads(begun.tools)
            assert tool["function"]["name"] == "act"
            assert tool["function"]["parameters"]["required"] == ["x"]
            seen = await episode.step('{"name": "act", "arguments": "{\\"x\\": 1}"}')
            assert seen.text == 'you said {"x": 1}'
            for wrong in ("hello", '{"name": "jump", "arguments": {}}', '{"name": "act", "arguments": 3}'):
                assert (await episode.step(wrong)).error
            assert len(server.received) == 2

    run(main())


def test_tools_of_the_environment() -> None:
    async def main() -> None:
        async with served(CALLS) as (_, place), opened(options(f"http://{place}")) as episode:
            begun = await episode.start()
            assert [tool["function"]["name"] for tool in json.loads(begun.tools)] == ["add"]
            refused = await episode.step('{"name": "sub", "arguments": {}}')
            assert refused == Observation("no such tool", error=True)
            seen = await episode.step('{"name": "add", "arguments": {"a": 1, "b": 2}}')
            assert seen == Observation("3", reward=1.0, done=True)

    run(main())


def test_what_the_environment_refuses_is_something_to_see() -> None:
    async def main() -> None:
        async with served() as (_, place), opened(options(f"http://{place}")) as episode:
            await episode.start()
            assert await episode.step("refuse") == Observation("not like this (VALIDATION_ERROR)", error=True)
            assert not (await episode.step("hello")).error

    run(main())


def test_a_large_observation_is_cut() -> None:
    async def main() -> Observation:
        async with served() as (_, place), opened(options(f"http://{place}", max_observation_chars=100)) as episode:
            await episode.start()
            return await episode.step("big")

    assert run(main()).text == cut("A" * 10_000_000, 100)


@pytest.mark.parametrize(
    ("action", "told"),
    [
        ("binary", "binary data"),
        ("junk", "not its protocol: '<html>'"),
        ("other", "where an observation was due"),
        ("reward", "no number: 'much'"),
        ("leave", r"hung up \(code 1011\): out of memory"),
        ("die", "hung up"),
        ("hang", "did not answer within 0.2 s"),
        ("broken", "SESSION_ERROR"),
    ],
)
def test_what_is_not_the_protocol_ends_the_episode(action: str, told: str) -> None:
    async def main() -> None:
        async with served() as (_, place), opened(options(f"http://{place}", step_seconds=0.2)) as episode:
            await episode.start()
            with pytest.raises(EnvironmentFailed, match=told):
                await episode.step(action)
            with pytest.raises(EnvironmentFailed, match="broken off"):
                await episode.step("hello")

    run(main())


def test_a_cancelled_step_closes_the_session() -> None:
    async def main() -> None:
        async with served() as (server, place), opened(options(f"http://{place}")) as episode:
            await episode.start()
            hanging = asyncio.ensure_future(episode.step("hang"))
            await until(lambda: len(server.received) == 2)
            hanging.cancel()
            await asyncio.gather(hanging, return_exceptions=True)
            await episode.aclose()
            assert hanging.cancelled()
            with pytest.raises(EnvironmentFailed):
                await episode.step("hello")

    run(main())


@pytest.mark.parametrize(("action", "told"), [(None, "set action_field"), ("none", "set action_field")])
def test_a_server_that_does_not_tell_its_actions(action: Any, told: str) -> None:
    async def main() -> None:
        async with served(action) as (_, place):
            async with opened(options(f"http://{place}")) as episode:
                with pytest.raises(EnvironmentFailed, match=told):
                    await episode.start()
            async with opened(options(f"http://{place}", action_field="message")) as episode:
                await episode.start()
                assert (await episode.step("hi")).text == "you said hi"

    run(main())


def test_nobody_there() -> None:
    async def main() -> None:
        async with opened(options("ws://127.0.0.1:9")) as episode:
            with pytest.raises(EnvironmentFailed, match="/schema cannot be read"):
                await episode.start()

    run(main())
