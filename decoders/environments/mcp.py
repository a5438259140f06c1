"""Episodes on a server of tools that speaks MCP.

MCP has no episodes, so they are a convention: where tools take a parameter `episode`, a tool `reset` (or `start`)
begins one and its structured result names it. Results may then have `observation`, `reward`, `done` and, at the start,
`goal`. The agent sees neither that tool nor the parameter. Rule: a server without the convention is a plain box of
tools, without reward, and what a tool complains about is an observation.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import aiohttp

from decoders.core.errors import EnvironmentFailed
from decoders.environments import tools
from decoders.environments.base import Observation
from decoders.environments.mcp_client import McpClient, Result
from decoders.environments.options import McpOptions, Scalar
from decoders.environments.wording import number, text_of

HANDLE = "episode"
_BEGINNERS = ("reset", "start")
_ENDERS = ("close", "end")


class McpSource:
    """One server, and the connections to it."""

    def __init__(self, options: McpOptions) -> None:
        if not options.url.startswith("http"):
            raise ValueError("url: MCP is spoken over http(s)")
        self._url, self._headers = options.url, options.sent()
        self.allowed = None if options.tools is None else frozenset(options.tools)
        self._http: aiohttp.ClientSession | None = None
        self._era: str | None = None

    def episode(self, reset: Mapping[str, Scalar]) -> McpEpisode:
        """An episode on this server."""
        return McpEpisode(self, reset)

    async def connect(self) -> McpClient:
        """A client that has found the server."""
        if self._http is None or self._http.closed:
            self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_connect=30))
        client = McpClient(self._http, self._url, self._headers, self._era)
        await client.connect()
        self._era = client.era
        return client

    async def aclose(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.close()


class McpEpisode:
    """Tools for one agent."""

    def __init__(self, source: McpSource, reset: Mapping[str, Scalar]) -> None:
        self._source, self._reset = source, reset
        self._client: McpClient | None = None
        self._tools: Mapping[str, tools.Tool] = {}
        self._handle: Any = None
        self._with_handle: frozenset[str] = frozenset()
        self._ender: str | None = None

    async def start(self) -> Observation:
        """List the tools and, where the server knows of episodes, begin one."""
        self._client = await self._source.connect()
        listed = {name: entry.tool for name, entry in (await self._client.list_tools()).items()}
        self._with_handle = frozenset(
            n for n, tool in listed.items() if HANDLE in tool.parameters.get("properties", {})
        )
        beginner = next((n for n in _BEGINNERS if n in listed), None) if self._with_handle else None
        hidden = {beginner} | {n for n in _ENDERS if n in self._with_handle} if beginner else set()
        shown = [n for n in listed if n not in hidden and (self._source.allowed is None or n in self._source.allowed)]
        begun = Result("")
        if beginner:
            begun = await self._client.call_tool(beginner, self._reset)
            self._handle = begun.structured.get(HANDLE)
            if begun.error or self._handle is None:
                raise EnvironmentFailed(f"the MCP server did not begin an episode: {begun.text[:300]}")
            self._ender = next((n for n in _ENDERS if n in hidden), None)
        else:
            self._with_handle = frozenset()
        self._tools = {n: listed[n].without(HANDLE) if n in self._with_handle else listed[n] for n in shown}
        return _observation(begun, tools.offer(self._tools.values()))

    async def step(self, action: str) -> Observation:
        """Call a tool."""
        assert self._client is not None
        try:
            call = tools.read(action)
        except ValueError as error:
            return Observation(str(error), error=True)
        if call.name not in self._tools:
            known = ", ".join(self._tools)
            return Observation(f"there is no tool {call.name[:80]!r}: there are {known}", error=True)
        arguments = call.arguments
        if call.name in self._with_handle:
            arguments = {**arguments, HANDLE: self._handle}
        return _observation(await self._client.call_tool(call.name, arguments))

    def answer(self, action: str) -> str | None:
        """Nothing: the protocol does not tell which calls end an episode; the configuration may."""
        return None

    async def aclose(self) -> None:
        """End the episode and the session, where there are such."""
        if self._client is not None:
            if self._ender and self._handle is not None:
                with suppress(EnvironmentFailed):
                    await self._client.call_tool(self._ender, {HANDLE: self._handle})
            self._handle = None
            await self._client.aclose()


def _observation(result: Result, tools: str = "") -> Observation:
    seen, goal = result.structured, result.structured.get("goal")
    try:
        reward = number(seen.get("reward"))
    except ValueError as error:
        raise EnvironmentFailed(f"the MCP server sent {error}") from error
    return Observation(
        text_of(seen["observation"]) if seen.get("observation") is not None else result.text,
        reward=reward,
        done=seen.get("done") is True,
        error=result.error,
        goal=goal if tools and isinstance(goal, str) else "",
        tools=tools,
    )
