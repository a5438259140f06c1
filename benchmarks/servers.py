"""Servers as processes of their own, for the time of a measurement. Rule: none outlives its block."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from pydantic import JsonValue

HOST = "127.0.0.1"
_START_SECONDS = 120.0
_STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Server:
    """One that listens."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        """Where its OpenAI API begins."""
        return f"http://{HOST}:{self.port}/v1"

    def ask(self, method: str, path: str, body: JsonValue = None) -> tuple[int, bytes]:
        """One request outside the measurement: status and body."""
        return _ask(self.port, method, path, body)


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def quiet_environment(**more: str) -> dict[str, str]:
    """This process's variables without those that steer servers or name keys."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("LONGTHINK_", "OPTILLM_"))}
    return {name: text for name, text in kept.items() if not name.endswith("_API_KEY")} | more


@contextmanager
def started(
    command: Sequence[str],
    *,
    port: int,
    health: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Iterator[Server]:
    """The server, once `GET health` answers 200. `OSError` with the end of its output if it never does."""
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output, env=environment, cwd=folder) as process,
    ):
        try:
            if not _answers(process, port, health):
                said = log.read_text(errors="replace").strip()[-1500:]
                raise OSError(f"a server did not start: {' '.join(command)}\n{said}")
            yield Server(port, process.pid)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
            process.kill()


@contextmanager
def serving(*arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[tuple[str, int]]:
    """A `longthink serve` of its own on a free port: its URL and its process. `ValueError` where it does not start."""
    command = [sys.executable, "-m", "server", "serve", "--port", "0", "--no-log-requests", *arguments]
    own = {**os.environ, **(environment or {})}
    with subprocess.Popen(command, env=own, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            if found is None:
                raise ValueError(f"the server did not start: {' '.join(command)}")
            yield found[0], process.pid
        finally:
            process.terminate()


def _answers(process: subprocess.Popen[bytes], port: int, health: str) -> bool:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError, HTTPException):
            if _ask(port, "GET", health)[0] == 200:
                return True
        time.sleep(0.05)
    return False


def _ask(port: int, method: str, path: str, body: JsonValue = None) -> tuple[int, bytes]:
    connection = HTTPConnection(HOST, port, timeout=10)
    try:
        sent = None if body is None else json.dumps(body)
        connection.request(method, path, sent, {"content-type": "application/json"})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()
