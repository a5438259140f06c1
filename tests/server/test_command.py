"""The `longthink` command as a process: it starts, refuses cleanly, and drains."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from server.__main__ import main
from tests.server.conftest import HELLO, until

ROOT = Path(__file__).parents[2]
QUIET = {k: v for k, v in os.environ.items() if not k.startswith("LONGTHINK_")}


@contextmanager
def command(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "server", "serve", "--engine", "scripted", "--port", "0", *arguments],
        cwd=ROOT,
        env=QUIET,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line
        yield process, found[0]
    finally:
        process.kill()
        process.communicate()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "server", *arguments], cwd=ROOT, env=QUIET, capture_output=True, text=True, timeout=30
    )


def test_a_signal_lets_running_requests_finish_while_ready_says_no() -> None:
    with command("--scripted.token-delay", "0.15") as (process, url), httpx.Client(base_url=url) as client:
        body = {"model": "scripted", "messages": HELLO, "stream": True}
        with client.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = response.iter_lines()
            assert next(lines).startswith("data:")
            process.send_signal(signal.SIGTERM)
            assert until(lambda: httpx.get(f"{url}/ready").status_code == 503, 1)
            assert httpx.get(f"{url}/health").status_code == 200
            refused = httpx.post(f"{url}/v1/chat/completions", json={**body, "stream": False})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
            assert list(lines)[-2] == "data: [DONE]"
        assert process.wait(5) == 0


def test_requests_that_outlast_the_drain_are_told() -> None:
    with command("--scripted.token-delay", "2", "--drain-seconds", "0.3") as (process, url):
        body = {"model": "scripted", "messages": HELLO, "stream": True}
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=20) as response:
            lines = response.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            sent = time.monotonic()
            last = [line for line in lines if line][-1]
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "overloaded"
        assert process.wait(5) == 0
        assert time.monotonic() - sent < 4


def test_mistakes_are_one_line_without_a_traceback(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, text in (
            (["--engine", "scripted", "--port", port], "cannot listen on"),
            (["--port", "0", "--model", str(tmp_path)], "no model at"),
            (["--port", "0", "--engine", "scripted", "--pack", "nope"], "no template pack"),
            (["--port", "0", "--engine", "scripted", "--decoder", "nope"], "unknown decoder"),
        ):
            done = run("serve", *arguments)
            assert done.returncode == 2
            assert text in done.stderr
            assert len(done.stderr.splitlines()) == 1, done.stderr


def test_commands_are_found_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert main([]) == 2
    assert main(["dance"]) == 2
    assert "dance" in capsys.readouterr().err
    assert main(["--version"]) == 0


def test_serving_imports_no_heavy_library() -> None:
    code = "import sys, server.serve; print([m for m in ('torch', 'transformers', 'onnxruntime') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "[]"
