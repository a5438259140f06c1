"""Environments behind OpenEnv's `/ws`: one websocket is one episode, one JSON message each way an exchange.

Rule: what the environment refuses is an observation for the agent; what is not the protocol ends the episode. The HTTP
routes /reset and /step are not used: they make a new environment for every call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp
import orjson

from decoders.core.errors import EnvironmentFailed
from decoders.environments import tools
from decoders.environments.base import Observation
from decoders.environments.options import OpenEnvOptions, Scalar
from decoders.environments.remote import LARGEST, read
from decoders.environments.wording import keyed_text, number, text_of

_TO_SEE = frozenset({"VALIDATION_ERROR", "EXECUTION_ERROR", "INVALID_JSON"})
"""Errors that an agent may learn from; the others are the server's own."""
_ACT = "act"


@dataclass(frozen=True, slots=True)
class Form:
    """How an action is written: as text into a field, as an object of several fields, or as a call of a tool."""

    kind: Literal["text", "object", "tools"]
    field: str = ""
    schema: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> Form:
        """By the JSON Schema of the environment's actions."""
        fields = {k: v for k, v in schema.get("properties", {}).items() if k != "metadata"}
        called = {"tool_name", "arguments"} <= fields.keys()
        if called or schema.get("title") in ("CallToolAction", "ListToolsAction"):
            return cls("tools")
        if len(fields) == 1:
            name, about = next(iter(fields.items()))
            kinds = [about.get("type"), *(choice.get("type") for choice in about.get("anyOf", []))]
            if "string" in kinds:
                return cls("text", name)
        required = [name for name in schema.get("required", []) if name in fields]
        return cls("object", schema={**schema, "properties": fields, "required": required})


class OpenEnvSource:
    """One server: its address, its form of actions, and the connections to it."""

    def __init__(self, options: OpenEnvOptions) -> None:
        address = urlsplit(options.url)
        secure = "s" if address.scheme in ("https", "wss") else ""
        self._url = f"http{secure}://{address.netloc}{address.path.rstrip('/').removesuffix('/ws')}"
        self._headers = options.sent()
        self._form = Form("text", options.action_field) if options.action_field else None
        self._asking = asyncio.Lock()
        self._http: aiohttp.ClientSession | None = None

    def episode(self, reset: Mapping[str, Scalar]) -> OpenEnvEpisode:
        """An episode on this server."""
        return OpenEnvEpisode(self, reset)

    async def form(self) -> Form:
        """How actions are written; the server is asked once."""
        async with self._asking:
            if self._form is None:
                schema = await self._schema()
                self._form = Form.of(schema)
            return self._form

    async def connect(self) -> aiohttp.ClientWebSocketResponse:
        """A new websocket."""
        patience = aiohttp.ClientWSTimeout(ws_close=2)
        try:
            return await self._client().ws_connect(f"{self._url}/ws", max_msg_size=LARGEST, timeout=patience)
        except (aiohttp.ClientError, OSError) as error:
            raise _failed(f"there is no connection: {error}") from error

    async def aclose(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.close()

    async def _schema(self) -> Mapping[str, Any]:
        try:
            async with self._client().get(f"{self._url}/schema") as response:
                body = await read(response)
        except (aiohttp.ClientError, OSError) as error:
            raise _failed(f"/schema cannot be read: {error}") from error
        try:
            schema = orjson.loads(body)["action"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            told = f"/schema (status {response.status}) tells no form of actions: set action_field"
            raise _failed(told) from error
        if not isinstance(schema, dict):
            raise _failed("/schema tells no form of actions: set action_field")
        return schema

    def _client(self) -> aiohttp.ClientSession:
        if self._http is None or self._http.closed:
            self._http = aiohttp.ClientSession(headers=self._headers)
        return self._http


class OpenEnvEpisode:
    """An episode over a websocket of its own."""

    def __init__(self, source: OpenEnvSource, reset: Mapping[str, Scalar]) -> None:
        self._source, self._reset = source, reset
        self._form = Form("text")
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    async def start(self) -> Observation:
        """Connect and reset; what the environment refuses now is a failure, since nobody has acted yet."""
        self._form = await self._source.form()
        self._socket = await self._source.connect()
        kind, data = await self._exchange("reset", self._reset)
        if kind == "error":
            raise _failed(f"it refused to begin: {_complaint(data)}")
        offered = ""
        if self._form.kind == "tools":
            offered = await self._offered()
        elif self._form.kind == "object":
            assert self._form.schema is not None
            offered = tools.offer([tools.Tool(_ACT, "Carry out one action.", self._form.schema)])
        return _observation(data, tools=offered, first=True)

    async def step(self, action: str) -> Observation:
        """Send the action in the environment's form."""
        try:
            written = self._write(action)
        except ValueError as error:
            return Observation(str(error), error=True)
        kind, data = await self._exchange("step", written)
        if kind == "error":
            if data.get("code") not in _TO_SEE:
                raise _failed(_complaint(data))
            return Observation(_complaint(data), error=True)
        return _observation(data)

    def answer(self, action: str) -> str | None:
        """Nothing: the wire does not tell which actions end an episode; the configuration may."""
        return None

    async def aclose(self) -> None:
        """Say goodbye and hang up."""
        if self._socket is not None:
            with suppress(aiohttp.ClientError, OSError):
                await self._socket.send_str('{"type":"close"}')
            await self._socket.close()

    def _write(self, action: str) -> Mapping[str, Any]:
        if self._form.kind == "text":
            return {self._form.field: action}
        call = tools.read(action)
        if self._form.kind == "tools":
            return {"type": "call_tool", "tool_name": call.name, "arguments": call.arguments}
        if call.name != _ACT:
            raise ValueError(f"there is no tool {call.name[:80]!r}: there is {_ACT}")
        return call.arguments

    async def _offered(self) -> str:
        kind, data = await self._exchange("step", {"type": "list_tools"})
        found = data.get("observation", {}).get("tools") if kind == "observation" else None
        if not isinstance(found, list) or not all(isinstance(tool, dict) and "name" in tool for tool in found):
            raise _failed("it does not tell its tools")
        return tools.offer(
            tools.Tool(str(t["name"]), str(t.get("description", "")), t.get("input_schema") or {"type": "object"})
            for t in found
        )

    async def _exchange(self, kind: str, data: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """One message and its answer, which is an observation or an error."""
        assert self._socket is not None
        try:
            await self._socket.send_str(orjson.dumps({"type": kind, "data": data}).decode())
        except (aiohttp.ClientError, OSError) as error:
            raise _failed(f"the connection broke: {error}") from error
        message = await self._socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise _failed(_instead_of_text(self._socket, message))
        try:
            answer = orjson.loads(message.data)
            told, content = answer["type"], answer["data"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise _failed(f"it sent what is not its protocol: {message.data[:80]!r}") from error
        if told not in ("observation", "error") or not isinstance(content, dict):
            raise _failed(f"it sent {str(told)[:80]!r} where an observation was due")
        return told, content


def _observation(data: Mapping[str, Any], *, tools: str = "", first: bool = False) -> Observation:
    seen = data.get("observation")
    try:
        reward = number(data.get("reward"))
    except ValueError as error:
        raise _failed(str(error)) from error
    trouble = _trouble(seen) if isinstance(seen, Mapping) else ""
    text = text_of(seen)
    if trouble and isinstance(seen, Mapping):
        text = "\n".join(filter(None, (trouble, keyed_text(seen))))
    goal = seen.get("goal") if first and isinstance(seen, Mapping) else None
    return Observation(
        text,
        reward=reward,
        done=bool(data.get("done")),
        error=bool(trouble),
        goal=goal if isinstance(goal, str) else "",
        tools=tools,
    )


def _trouble(seen: Mapping[str, Any]) -> str:
    """What went wrong with the action, by the observation itself."""
    wrong = seen.get("error")
    return str(wrong.get("message", wrong)) if isinstance(wrong, Mapping) else str(wrong or "")


def _instead_of_text(socket: aiohttp.ClientWebSocketResponse, message: aiohttp.WSMessage) -> str:
    if message.type is aiohttp.WSMsgType.BINARY:
        return "it sent binary data"
    if message.type is aiohttp.WSMsgType.ERROR:
        return f"the connection broke: {message.data}"
    reason = f": {message.extra}" if message.extra else ""
    if socket.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
        return f"it sent more than {LARGEST} bytes at once"
    return f"it hung up (code {socket.close_code}){reason}"


def _complaint(data: Mapping[str, Any]) -> str:
    return f"{data.get('message') or 'error'} ({data.get('code') or 'no code'})"


def _failed(why: str) -> EnvironmentFailed:
    return EnvironmentFailed(f"the OpenEnv server: {why}"[:500])
