"""One client's environment, from here. Rule: whatever its process does, it ends with the session."""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from server.envhost.conversion import Refused
from server.envhost.gym import Gym
from server.envhost.worker import Message, work

_CLOSING_SECONDS = 5.0


class Nursery:
    """Where processes come from: a copy of one that has imported everything, where the system can copy."""

    def __init__(self, gym: Gym) -> None:
        self._arguments = (gym.ids, gym.imports, gym.options)
        self._context = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
        if sys.platform != "win32":
            self._context.set_forkserver_preload(["gymnasium", "server.envhost.worker", *gym.imports])

    def process(self) -> tuple[BaseProcess, Connection]:
        """A new process and the pipe to it."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=work, args=(theirs, *self._arguments), daemon=True)  # type: ignore[attr-defined]
        process.start()
        theirs.close()
        return process, ours


class Session:
    """A process for one client; it is started by the first message."""

    def __init__(self, nursery: Nursery) -> None:
        self._nursery = nursery
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pipe")

    async def answer(self, kind: str, data: dict[str, Any]) -> Message:
        """The reply of the process. Raises `Refused` where it has died."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._ask, (kind, data))

    async def aclose(self) -> None:
        """Let the process end, or end it."""
        ending = asyncio.get_running_loop().run_in_executor(self._thread, self._end)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(ending), _CLOSING_SECONDS)
        if self._process is not None and self._process.is_alive():
            self._process.kill()
        await ending
        self._thread.shutdown(wait=False)

    def _ask(self, message: Message) -> Message:
        if self._pipe is None:
            self._process, self._pipe = self._nursery.process()
        try:
            self._pipe.send(message)
            reply: Message = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise Refused("SESSION_ERROR", "the process of the environment has died") from error
        return reply

    def _end(self) -> None:
        if self._process is not None and self._pipe is not None:
            with suppress(OSError):
                self._pipe.send(None)
            self._process.join(_CLOSING_SECONDS)
            self._pipe.close()
