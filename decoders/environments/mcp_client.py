"""A client of MCP servers over streamable HTTP, in both eras of the protocol, without an SDK.

Since 2026-07-28 every call is one self-contained POST; before, a handshake opened a session. Rule: a tool that fails
gives a result with `error` set; only a server that cannot be talked to raises, an `EnvironmentFailed` that never shows
a header.
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import aiohttp
import orjson

from decoders.core.errors import EnvironmentFailed
from decoders.environments.remote import LARGEST, read
from decoders.environments.tools import Tool
from decoders.environments.wording import blocks_text

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
_MOST_PAGES = 64
_PLAIN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_ENCODED = re.compile(r"=\?base64\?.*\?=")
_NOWHERE = (aiohttp.ClientError, OSError)


@dataclass(frozen=True, slots=True)
class Listed:
    """A tool as the server lists it. `mirrored` are the parameters that it wants in headers too, by name."""

    tool: Tool
    output: Mapping[str, Any]
    mirrored: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Result:
    """What a call gave."""

    text: str
    structured: Mapping[str, Any] = field(default_factory=dict)
    error: bool = False


class Refused(Exception):
    """The server answered a request with an error of the protocol. Does not leave this module but for `McpClient`."""

    def __init__(self, code: Any, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code


class McpClient:
    """A conversation with one server, over connections that whoever made `http` closes.

    `era` is the version that the server is known to speak; `connect` finds out where it is None.
    """

    def __init__(
        self, http: aiohttp.ClientSession, url: str, headers: Mapping[str, str] | None = None, era: str | None = None
    ) -> None:
        self._http, self._url, self._headers = http, url, dict(headers or {})
        self._known = era
        self._session: str | None = None
        self._listed: Mapping[str, Listed] = {}
        self._calls = 0
        self.era = ""
        """The version of the protocol that is spoken, once connected."""

    async def connect(self) -> None:
        """Find the era, and open a session where the server has such."""
        if self._known in (None, MODERN):
            self.era = MODERN
            try:
                await self._request("server/discover")
                return
            except Refused:
                self.era = ""
        hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": _CLIENT}
        try:
            greeting = await self._request("initialize", hello)
        except Refused as error:
            raise _failed(f"speaks no version of the protocol that is known here: {error}") from error
        self.era = str(greeting.get("protocolVersion", LEGACY))
        await self._notify("notifications/initialized")

    async def list_tools(self) -> Mapping[str, Listed]:
        """The tools by name."""
        found: dict[str, Listed] = {}
        cursor: dict[str, Any] = {}
        for _ in range(_MOST_PAGES):
            try:
                page = await self._request("tools/list", cursor)
            except Refused as error:
                raise _failed(f"does not list its tools: {error}") from error
            if not isinstance(tools := page.get("tools"), list):
                raise _failed("does not list its tools")
            found.update((entry.tool.name, entry) for entry in map(_listed, tools))
            if not page.get("nextCursor"):
                break
            cursor = {"cursor": page["nextCursor"]}
        self._listed = found
        return found

    async def call_tool(self, name: str, arguments: Mapping[str, Any]) -> Result:
        """What a tool gives, or why it does not."""
        mirrored = self._listed[name].mirrored if name in self._listed else {}
        headers = {f"Mcp-Param-{head}": _safe(_told(arguments[p])) for p, head in mirrored.items() if p in arguments}
        try:
            given = await self._request("tools/call", {"name": name, "arguments": arguments}, name, headers)
        except Refused as error:
            if isinstance(error.code, int) and error.code >= 400:
                raise _failed(f"failed: {error}") from error
            return Result(str(error), error=True)
        if given.get("resultType", "complete") != "complete":
            return Result("the tool asks for more than its arguments, which cannot be given here", error=True)
        content, structured = given.get("content"), given.get("structuredContent")
        text = blocks_text(content) if isinstance(content, list) else ""
        structured = structured if isinstance(structured, dict) else {}
        return Result(text or orjson.dumps(structured).decode(), structured, bool(given.get("isError")))

    async def aclose(self) -> None:
        """End the session, if there is one; a server that does not want to hear of it is left alone."""
        if self._session is not None:
            with suppress(*_NOWHERE):
                async with self._http.delete(self._url, headers=self._head("", "", {})):
                    self._session = None

    async def _notify(self, method: str) -> None:
        body = orjson.dumps({"jsonrpc": "2.0", "method": method})
        try:
            async with self._http.post(self._url, data=body, headers=self._head(method, "", {})) as response:
                await response.read()
        except _NOWHERE as error:
            raise _failed(f"cannot be reached: {error}") from error

    async def _request(
        self,
        method: str,
        parameters: Mapping[str, Any] | None = None,
        name: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        self._calls += 1
        sent = dict(parameters or {})
        if self.era == MODERN:
            sent["_meta"] = _META
        body = orjson.dumps({"jsonrpc": "2.0", "id": self._calls, "method": method, "params": sent})
        try:
            async with self._http.post(
                self._url, data=body, headers=self._head(method, name, headers or {}), allow_redirects=False
            ) as response:
                self._session = response.headers.get("mcp-session-id", self._session)
                return _unwrapped(response.status, await self._answer(response))
        except _NOWHERE as error:
            raise _failed(f"cannot be reached: {type(error).__name__}: {error}") from error

    async def _answer(self, response: aiohttp.ClientResponse) -> Any:
        """The message that answers the last request, from a JSON body or from a stream of events; None without."""
        if response.content_type != "text/event-stream":
            body = await read(response)
            try:
                return orjson.loads(body)
            except orjson.JSONDecodeError as error:
                if response.status >= 400:
                    return None
                raise _failed(f"sent what is not JSON: {body[:80]!r}") from error
        async for data in _events(response):
            try:
                message = orjson.loads(data)
            except orjson.JSONDecodeError as error:
                raise _failed(f"sent what is not JSON: {data[:80]!r}") from error
            if isinstance(message, dict) and message.get("id") == self._calls and "method" not in message:
                return message
        raise _failed("ended its answer before the result")

    def _head(self, method: str, name: str, more: Mapping[str, str]) -> dict[str, str]:
        head = {**self._headers, "Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if self.era:
            head["MCP-Protocol-Version"] = self.era
        if self._session:
            head["Mcp-Session-Id"] = self._session
        if self.era == MODERN:
            head |= {"Mcp-Method": method, **({"Mcp-Name": _safe(name)} if name else {}), **more}
        return head


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The data of server-sent events."""
    pending, data, size = bytearray(), [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > LARGEST:
            raise _failed(f"sent more than {LARGEST} bytes at once")
        pending += part
        if b"\n" not in part:
            continue
        *lines, rest = pending.split(b"\n")
        pending = bytearray(rest)
        for line in lines:
            line = line.rstrip(b"\r")
            if line.startswith(b"data:"):
                data.append(bytes(line[5:].strip()))
            elif not line and data:
                if whole := b"\n".join(data):
                    yield whole
                data = []


def _unwrapped(status: int, message: Any) -> dict[str, Any]:
    if not isinstance(message, dict) or not ({"result", "error"} & message.keys()):
        if status >= 400:
            if status in (401, 403):
                raise _failed(f"refuses access (status {status}): set api_key_env or headers")
            raise Refused(status, "the server refused the request")
        raise _failed("sent what is no answer")
    if "error" in message:
        error = message["error"] if isinstance(message["error"], dict) else {}
        raise Refused(error.get("code"), str(error.get("message", "error"))[:2000])
    if not isinstance(message["result"], dict):
        raise _failed("sent what is no result")
    return message["result"]


def _listed(entry: Any) -> Listed:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise _failed("lists a tool without a name")
    schema = entry.get("inputSchema")
    schema = schema if isinstance(schema, dict) else {"type": "object", "properties": {}}
    properties = schema.get("properties", {})
    mirrored = {
        name: about["x-mcp-header"]
        for name, about in properties.items()
        if isinstance(about, dict) and isinstance(about.get("x-mcp-header"), str)
    }
    tool = Tool(entry["name"], str(entry.get("description") or ""), schema)
    return Listed(tool, entry.get("outputSchema") or {}, mirrored)


def _told(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _safe(value: str) -> str:
    """A header's value; what HTTP does not carry is wrapped as the protocol says."""
    if _PLAIN.fullmatch(value) and not _ENCODED.fullmatch(value):
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="


def _failed(why: str) -> EnvironmentFailed:
    return EnvironmentFailed(f"the MCP server {why}"[:500])


def _version() -> str:
    try:
        return version("longthink")
    except PackageNotFoundError:
        return "0"


_CLIENT = {"name": "longthink", "version": _version()}
_META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": _CLIENT,
    "io.modelcontextprotocol/clientCapabilities": {},
}
