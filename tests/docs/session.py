"""The terminal of somebody who follows a page: a shell that remembers, programs left running, one Python interpreter.

Rule: everything that was started is ended with the session.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.docs import rules

SECONDS = 1800
_KEEP = (
    '[ -f "$WALK_STATE" ] && . "$WALK_STATE"\n%s\nstatus=$?\n{ declare -px; umask -p; } > "$WALK_STATE"\nexit $status'
)
_INTERPRETER = """
import contextlib, io, json, sys, traceback
space = {"__name__": "__main__"}
for line in sys.stdin:
    said, failed = io.StringIO(), False
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            exec(compile(json.loads(line), "<page>", "exec"), space)
        except BaseException:
            failed = True
            traceback.print_exc()
    print(json.dumps([failed, said.getvalue()]), flush=True)
"""


class Failed(Exception):
    """A step did not do what its page says; the message is what it printed."""


@dataclass
class Running:
    """A program in the background."""

    process: subprocess.Popen[str]
    log: Path


@dataclass
class Session:
    """`folder` is the checkout that is walked in, `scratch` a place for logs outside of it."""

    folder: Path
    scratch: Path
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def __post_init__(self) -> None:
        (self.scratch / ".curlrc").write_text("fail-with-body\n")  # a refused request is no success
        state = {"WALK_STATE": str(self.scratch / "state"), "CURL_HOME": str(self.scratch)}
        self._environment = {**self.environment, **state}
        self._running: dict[int, Running] = {}
        self._python: subprocess.Popen[str] | None = None

    def close(self) -> None:
        """End everything that still runs."""
        for port in list(self._running):
            self._stop(port)
        if self._python is not None:
            self._python.communicate("", timeout=30)

    def run(self, command: str) -> str:
        """The output of a command; one that goes on running is left so, once it listens."""
        if rules.background(command):
            return self._start(command)
        if "<pid>" in command:
            command = command.replace("<pid>", str(self._pid(command)))
        log = self.scratch / "output"
        with log.open("w") as file:
            process = self._popen(_KEEP % command, file)
            try:
                status = process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                _end(process)
                raise Failed(f"not done after {SECONDS} s\n{log.read_text()}") from None
            except BaseException:
                _end(process)
                raise
        if status:
            raise Failed(f"status {status}\n{log.read_text()}")
        return log.read_text()

    def python(self, code: str) -> str:
        """The output of Python code, run behind that of the blocks before it."""
        if self._python is None:
            command = '[ -f "$WALK_STATE" ] && . "$WALK_STATE"\nexec python -u -c "$0"'
            self._python = subprocess.Popen(
                ["bash", "-c", command, _INTERPRETER],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._python.stdin is not None
        assert self._python.stdout is not None
        print(json.dumps(code), file=self._python.stdin, flush=True)
        failed, said = json.loads(self._python.stdout.readline() or '[true, "no interpreter"]')
        if failed:
            raise Failed(said)
        return str(said)

    def _start(self, command: str) -> str:
        port = rules.port(command)
        self._stop(port)
        if _listens(port):
            raise Failed(f"something else listens on port {port} of this machine")
        log = self.scratch / f"{port}.log"
        with log.open("w") as file:
            process = self._popen(f'[ -f "$WALK_STATE" ] && . "$WALK_STATE"\n{command}', file)
        self._running[port] = Running(process, log)
        deadline = time.monotonic() + SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                self._stop(port)
                raise Failed(f"does not listen on port {port}\n{log.read_text()}")
            time.sleep(0.2)
        return ""

    def _stop(self, port: int) -> None:
        running = self._running.pop(port, None)
        if running is not None:
            _end(running.process)

    def _popen(self, script: str, output: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=output,  # type: ignore[call-overload]
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _pid(self, command: str) -> int:
        """The server that the command asks first: the innermost process of what was started."""
        found = re.search(r"127\.0\.0\.1:(\d+)", command)
        started = psutil.Process(self._running[int(found[1]) if found else 8000].process.pid)
        return [started, *started.children(recursive=True)][-1].pid


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _end(process: subprocess.Popen[str]) -> None:
    """As Ctrl-C does, with everything that it has started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
            return
    sys.exit(f"cannot end process {process.pid}")
