"""A server as `longthink serve` runs it, in a thread and with limits that a test can reach, and raw sockets to it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import uvicorn

from decoders.core.task import Model
from decoders.prompts import Pack
from server import transport
from server.app import create_app
from server.engines.scripted import ScriptedEngine
from server.settings import Settings
from tests.server.conftest import Live, until

LIMITS = {"header_seconds": 0.4, "body_seconds": 0.4, "stall_seconds": 0.4}


@contextmanager
def guarded(engine: ScriptedEngine | None = None, **settings: Any) -> Iterator[Live]:
    """The product's own transport in front of the app, with these settings over `LIMITS`."""
    engine = engine or ScriptedEngine(model="base")
    chosen = Settings.model_validate({"engine": "scripted", **LIMITS, **settings})
    app = create_app(chosen, {"base": Model(engine, Pack.load("plain"))})
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(transport.config(app, chosen, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert until(lambda: server.started or not thread.is_alive(), 10)
        yield Live(listener.getsockname()[1], {"base": engine})
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def guard() -> Iterator[Live]:
    """A guarded server that all tests of this folder may share; none of them leaves it worse than it was."""
    with guarded() as running:
        yield running


def open_to(live: Live) -> socket.socket:
    """A new connection."""
    return socket.create_connection(("127.0.0.1", live.port), timeout=10)


def reply(connection: socket.socket) -> bytes:
    """All that the server says until it closes the connection; a reset counts as a close."""
    said = b""
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            said += piece
    return said


def one(connection: socket.socket) -> bytes:
    """One whole response, whatever pieces it comes in; the connection stays open."""
    said = b""
    while b"\r\n\r\n" not in said:
        said += connection.recv(65536)
    head, _, body = said.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def send(live: Live, data: bytes) -> bytes:
    """What the server answers to these bytes, until it closes."""
    with open_to(live) as connection:
        with suppress(ConnectionError):
            connection.sendall(data)
        return reply(connection)


def status(said: bytes) -> int:
    """The status of the first response."""
    assert said.startswith(b"HTTP/1.1 "), said[:200]
    return int(said[9:12])


def error(said: bytes) -> dict[str, Any]:
    """The error object in a response."""
    found: dict[str, Any] = json.loads(said.partition(b"\r\n\r\n")[2])["error"]
    return found
