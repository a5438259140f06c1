"""A server in the loop of the test, beside the upstreams that it calls."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn

from decoders.core.engine import Engine
from decoders.core.task import Model
from decoders.prompts import Pack
from server.app import create_app
from server.settings import Settings
from tests.engines.upstream.support import until


@asynccontextmanager
async def client_of(
    engines: Mapping[str, Engine], store: Any = None, **settings: Any
) -> AsyncGenerator[httpx.AsyncClient, None]:
    """A client of an app over these engines, which are closed with it."""
    served = {
        name: Model(engine, Pack.load(getattr(engine, "pack", None) or "plain")) for name, engine in engines.items()
    }
    app = create_app(Settings(engine="scripted", **settings), served, store=store)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await until(lambda: server.started or task.done())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=url, timeout=20) as client:
            yield client
    finally:
        server.should_exit = True
        await task
