"""OpenEnv's routes and its websocket. Rule: every message gets one answer; with the socket ends the environment."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiohttp import web

from server.envhost.conversion import Refused
from server.envhost.gym import Gym
from server.envhost.session import Nursery, Session

_LARGEST_REQUEST = 1024 * 1024
_HEARTBEAT_SECONDS = 30.0
_MOST_WAITING = 8


class Host:
    """The routes."""

    def __init__(self, gym: Gym, max_concurrent: int, key: str | None) -> None:
        self._gym, self._most, self._key = gym, max_concurrent, key
        self._action = gym.action()
        self._open: set[web.WebSocketResponse] = set()
        self._nursery = Nursery(gym)

    def app(self) -> web.Application:
        """The application."""

        @web.middleware
        async def guard(request: web.Request, handler: Any) -> web.StreamResponse:
            given = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if "Origin" in request.headers:
                # a page in a browser on this machine must not get at environments that listen for local clients
                raise web.HTTPForbidden(text="not for browsers")
            if self._key and not hmac.compare_digest(given.encode(), self._key.encode()):
                raise web.HTTPUnauthorized(text="the key of LONGTHINK_ENVHOST_KEY is needed")
            response: web.StreamResponse = await handler(request)
            return response

        def json_route(body: Callable[[], dict[str, Any]]) -> Any:
            async def handle(request: web.Request) -> web.Response:
                return web.json_response(body())

            return handle

        app = web.Application(middlewares=[guard])
        ids = self._gym.ids
        app.router.add_get("/health", json_route(lambda: {"status": "healthy", "sessions": len(self._open)}))
        app.router.add_get("/metadata", json_route(lambda: {"name": ids[0], "description": "", "tasks": ids[:2000]}))
        anything = {"type": "object"}
        schema = {"action": self._action, "observation": anything, "state": anything}
        app.router.add_get("/schema", json_route(lambda: schema))
        app.router.add_get("/ws", self._converse)
        app.on_shutdown.append(self._hang_up)
        return app

    async def _converse(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=_LARGEST_REQUEST, heartbeat=_HEARTBEAT_SECONDS)
        await socket.prepare(request)
        if len(self._open) >= self._most:
            await socket.send_json(_error("CAPACITY_REACHED", f"all {self._most} sessions are taken"))
            await socket.close()
            return socket
        self._open.add(socket)
        session = Session(self._nursery)
        inbox: asyncio.Queue[object] = asyncio.Queue(_MOST_WAITING)
        answering = asyncio.ensure_future(_answer(session, socket, inbox))
        try:
            # reading goes on while an answer is made: a client that leaves in the middle is noticed
            async for message in socket:
                await inbox.put(message.data)
                if answering.done():
                    break
        finally:
            answering.cancel()
            await session.aclose()
            self._open.discard(socket)
        return socket

    async def _hang_up(self, app: web.Application) -> None:
        for socket in list(self._open):
            await socket.close()


async def _answer(session: Session, socket: web.WebSocketResponse, inbox: asyncio.Queue[object]) -> None:
    """Answer one message after the other, up to the one that says goodbye."""
    with suppress(ConnectionError):
        while (reply := await _reply(session, await inbox.get())) is not None:
            await socket.send_json(reply)
    await socket.close()


async def _reply(session: Session, text: object) -> dict[str, Any] | None:
    """The answer to one message; None at the end."""
    try:
        message = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        message = None
    if not isinstance(message, dict) or not isinstance(message.get("data", {}), dict):
        return _error("INVALID_JSON", "a message is a JSON object with type and data")
    if message.get("type") == "close":
        return None
    try:
        kind, data = await session.answer(str(message.get("type")), dict(message.get("data", {})))
    except Refused as error:
        return _error(error.code, str(error))
    return {"type": kind, "data": data}


def _error(code: str, message: str) -> dict[str, Any]:
    return {"type": "error", "data": {"message": message, "code": code}}
