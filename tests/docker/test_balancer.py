"""The balancer's real configuration with two real replicas: streams pass as they come, who drains is left alone."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.docker.conftest import DOCKER, ROOT, call, tool
from tests.docker.test_image import QUIET
from tests.server.conftest import until

CONFIGURATION = DOCKER / "haproxy/haproxy.cfg"
BODY = {"model": "scripted", "messages": [{"role": "user", "content": "one two three four five six"}], "stream": True}


@dataclass
class Stand:
    """A balancer and what is behind it."""

    url: str
    operations: str
    replicas: list[tuple[subprocess.Popen[str], str]]

    def up(self) -> int:
        """Replicas that get requests."""
        text = httpx.get(f"{self.operations}/metrics").text
        found = re.search(r'^haproxy_backend_active_servers\{proxy="replicas"\} (\d+)', text, re.M)
        return int(found[1]) if found else 0

    def running(self) -> list[float]:
        """Requests in progress of each replica."""
        texts = [httpx.get(f"{url}/metrics").text for _, url in self.replicas]
        return [sum(map(float, re.findall(r"^longthink:num_requests_running\S* (\S+)", t, re.M))) for t in texts]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def start_replica(stack: ExitStack) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "server", "serve", "--engine", "scripted", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--scripted.token-delay", "0.2"], cwd=ROOT, env=QUIET, stdout=subprocess.PIPE, text=True
    )
    stack.callback(process.communicate)
    stack.callback(process.kill)
    assert process.stdout is not None
    found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
    assert found
    return process, found[0]


def localised(replicas: list[str], port: int, operations: int) -> str:
    """The configuration with this machine's addresses in place of the containers'."""
    text = CONFIGURATION.read_text()
    servers = "\n".join(f"    server replica{n} {url.removeprefix('http://')}" for n, url in enumerate(replicas))
    changes = [
        (r"^    server-template .*$", servers),
        (r"^    bind :8000$", f"    bind 127.0.0.1:{port}"),
        (r"^    bind :8404$", f"    bind 127.0.0.1:{operations}"),
    ]
    for pattern, replacement in changes:
        text, count = re.subn(pattern, replacement, text, flags=re.M)
        assert count == 1, pattern
    return text


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    haproxy = tool("haproxy", "apt-get install haproxy")
    port, operations = free_port(), free_port()
    with ExitStack() as stack:
        replicas = [start_replica(stack) for _ in range(2)]
        file = tmp_path / "haproxy.cfg"
        file.write_text(localised([url for _, url in replicas], port, operations))
        process = subprocess.Popen([haproxy, "-db", "-f", str(file)], stdout=subprocess.DEVNULL)
        stack.callback(process.wait, 10)
        stack.callback(process.kill)
        running = Stand(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{operations}", replicas)
        assert until(lambda: answers(f"{running.operations}/health"), 10)
        assert until(lambda: running.up() == 2, 10)
        yield running


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def test_haproxy_accepts_the_configuration() -> None:
    haproxy = tool("haproxy", "apt-get install haproxy")
    call(haproxy, "-c", "-f", CONFIGURATION, env=dict(os.environ))


def test_a_draining_replica_finishes_its_stream_and_gets_no_more(stand: Stand) -> None:
    with (
        httpx.Client(base_url=stand.url, timeout=20) as client,
        client.stream("POST", "/v1/chat/completions", json=BODY) as response,
    ):
        lines = response.iter_lines()
        assert next(lines).startswith("data:")
        assert sorted(stand.running()) == [0, 1]  # the first token is here while the last is not yet made
        busy = stand.running().index(1)
        stand.replicas[busy][0].send_signal(signal.SIGTERM)
        assert until(lambda: stand.up() == 1, 10)
        others = [client.get("/v1/models").status_code for _ in range(4)]
        rest = list(lines)
    assert others == [200] * 4
    assert "data: [DONE]" in rest


def test_a_replica_that_dies_costs_nobody_a_request(stand: Stand) -> None:
    process, _ = stand.replicas[0]
    process.kill()
    process.wait(10)
    assert [httpx.get(f"{stand.url}/v1/models").status_code for _ in range(6)] == [200] * 6


def test_metrics_are_not_for_the_api_s_users(stand: Stand) -> None:
    assert httpx.get(f"{stand.url}/metrics").status_code == 404
    assert httpx.get(f"{stand.url}/ready").status_code == 200
