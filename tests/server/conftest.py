"""A server on a real socket, with the scripted engine: streams and disconnects are seen as they are."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn

from decoders.core.task import Model
from decoders.environments.base import EnvironmentFactory
from decoders.prompts import Pack
from server.app import create_app
from server.engines.scripted import ScriptedEngine
from server.settings import Settings
from server.store.base import Store

HELLO = [{"role": "user", "content": "hello there"}]


@dataclass
class Live:
    """A running server and the engines behind it."""

    port: int
    engines: dict[str, ScriptedEngine]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def engine(self) -> ScriptedEngine:
        return next(iter(self.engines.values()))

    def post(self, body: Any, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": "application/json", **headers}
        return httpx.post(f"{self.url}/v1/chat/completions", content=content, headers=sent, timeout=20)

    def ask(self, **fields: Any) -> httpx.Response:
        return self.post({"model": "base", "messages": HELLO, **fields})

    def events(self, **fields: Any) -> list[Any]:
        """The events of a stream; the end marker is the string [DONE], a comment begins with a colon."""
        body = {"model": "base", "messages": HELLO, **fields, "stream": True}
        with httpx.stream("POST", f"{self.url}/v1/chat/completions", json=body, timeout=20) as response:
            response.read() if response.status_code != 200 else None
            assert response.status_code == 200, response.text
            lines = [line for line in response.iter_lines() if line]
        datas = [line.removeprefix("data: ") for line in lines]
        return [json.loads(d) if d.startswith("{") else d for d in datas]

    def raw(self, **fields: Any) -> socket.socket:
        """A connection on which the request has been sent."""
        body = json.dumps({"model": "base", "messages": HELLO, **fields}).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        head += f"content-length: {len(body)}\r\n\r\n"
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.sendall(head.encode() + body)
        return connection

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        total = 0.0
        for line in httpx.get(f"{self.url}/metrics").text.splitlines():
            sample, _, value = line.rpartition(" ")
            if sample.partition("{")[0] == name and all(f'{k}="{v}"' in sample for k, v in labels.items()):
                total += float(value)
        return total


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition comes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


@contextmanager
def own_logging() -> Iterator[None]:
    """Afterwards logging is as it was before."""
    loggers = [logging.getLogger(name) for name in (None, "longthink", "server", "decoders", "httpx", "httpcore")]
    handlers, levels = loggers[0].handlers[:], [logger.level for logger in loggers]
    try:
        yield
    finally:
        logging.captureWarnings(False)
        loggers[0].handlers[:] = handlers
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@pytest.fixture(autouse=True)
def logging_stays() -> Iterator[None]:
    """Tests that run the command in this process have it set up logging."""
    with own_logging():
        yield


@contextmanager
def serving(
    settings: Settings | None = None,
    pack: str = "plain",
    store: Store | None = None,
    environments: Mapping[str, EnvironmentFactory] | None = None,
    **engines: ScriptedEngine,
) -> Iterator[Live]:
    engines = engines or {"base": ScriptedEngine(model="base")}
    served = {name: Model(engine, Pack.load(pack)) for name, engine in engines.items()}
    app = create_app(settings or Settings(engine="scripted"), served, store=store, environments=environments)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert until(lambda: server.started or not thread.is_alive(), 10)
        yield Live(listener.getsockname()[1], engines)
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def live() -> Iterator[Live]:
    """Two models that echo, without delays; one of them has little context."""
    with serving(
        base=ScriptedEngine(model="base"), small=ScriptedEngine(model="small", context_length=9000)
    ) as running:
        yield running


@pytest.fixture(scope="session")
def slow() -> Iterator[Live]:
    """Speaks forty words at 50 a second after a pause, keep-alive every 0.1 s."""
    engine = ScriptedEngine([" ".join(["word"] * 40)], model="base", first_token_delay=0.35, token_delay=0.02)
    with serving(Settings(engine="scripted", keep_alive_seconds=0.1), base=engine) as running:
        yield running
