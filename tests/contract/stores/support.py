"""A real redis-server to stop, kill and restart, and a proxy before it that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

MISSING = "there is no redis-server on this machine: apt-get install redis-server"


class RedisServer:
    """One redis-server that forgets nothing it has acknowledged, on a port and in a folder that stay the same."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *options: str) -> None:
        command = ["redis-server", "--port", str(self.port), "--dir", str(self._folder), "--save", ""]
        durable = ["--appendonly", "yes", "--appendfsync", "always"]
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen([*command, *durable, *options], stdout=log, stderr=log)
        self._wait()

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def hang(self) -> None:
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._signal(number)
            self._process.wait(30)
            self._process = None

    def _wait(self) -> None:
        """Until it answers that it has loaded its data."""
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(64).startswith((b"+PONG", b"-NOAUTH")):
                    return
            time.sleep(0.01)
        raise TimeoutError((self._folder / "redis.log").read_text())


@contextmanager
def redis_server(folder: Path, *options: str) -> Generator[RedisServer, None, None]:
    """A running server; it ends with the block, in whatever state it is then."""
    server = RedisServer(folder)
    server.start(*options)
    try:
        yield server
    finally:
        server.kill()


def redis_is_missing() -> bool:
    return shutil.which("redis-server") is None


class Proxy:
    """Carries bytes to a port of this machine until it is `cut`; then it closes, or with `silently` drops them."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._whole = asyncio.Event()
        self._whole.set()
        self._refusing = False
        self._losing = 0
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def cut(self, *, silently: bool = False) -> None:
        """Reset all connections and refuse new ones; or let all of them hang as a network does that drops packets."""
        self._whole.clear()
        self._refusing = not silently
        if not silently:
            self._reset()

    def heal(self) -> None:
        """Carry on; connections that hung are reset, as their other ends have given up on them."""
        self._reset()
        self._refusing = False
        self._whole.set()

    def lose_replies(self, n: int) -> None:
        """Let the next requests through and break the connections instead of bringing their replies."""
        self._losing = n

    def _reset(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool) -> None:
        while data := await reader.read(65536):
            await self._whole.wait()
            if replies and self._losing:
                self._losing -= 1
                return
            writer.write(data)
            await writer.drain()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = {writer}
        self._open.add(writer)
        try:
            if self._refusing:
                return
            await self._whole.wait()
            there = await asyncio.open_connection("127.0.0.1", self._target)
            ends.add(there[1])
            self._open.add(there[1])
            ways = {
                asyncio.create_task(self._carry(reader, there[1], replies=False)),
                asyncio.create_task(self._carry(there[0], writer, replies=True)),
            }
            self._tasks |= ways
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._tasks -= ways
        except OSError:
            return
        finally:
            for end in ends:
                self._open.discard(end)
                end.transport.abort()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connect(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def proxy_before(port: int) -> AsyncGenerator[Proxy, None]:
    proxy = Proxy(port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.aclose()


async def eventually(look: Callable[[], Awaitable[T]], seconds: float = 30.0) -> T:
    """What `look` finds as soon as that is something."""
    async with asyncio.timeout(seconds):
        while not (found := await look()):  # noqa: ASYNC110 - a store is not told to tell
            await asyncio.sleep(0.01)
    return found
