"""Replicas that are killed in the middle of runs: nothing is lost, nothing is made twice, and no reader can tell."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from decoders.core.messages import Prompt
from server.engines.scripted import ScriptedEngine
from tests.contract.stores.support import RedisServer, redis_server
from tests.server.conftest import HELLO, Live, serving, until

ROOT = Path(__file__).parents[2]
QUIET = {k: v for k, v in os.environ.items() if not k.startswith("LONGTHINK_")}
PATH = "/v1/chat/completions"
LEASE_SECONDS = 0.6
TURNS = 32
STEPS = 2 * TURNS - 1


def speak(prompt: Prompt, seed: int) -> str:
    """Depends on the prompt and the seed, so that a step that was lost or doubled changes all that follows."""
    said = sum(len(message.content) * (i + 1) for i, message in enumerate(prompt.messages))
    words = " ".join(f"{(said * 7 + seed + i) % 1000}" for i in range(20))
    return f"<think>{words}</think>So \\boxed{{{(said + seed) % 100}}}"


class Replica:
    """One `longthink serve` in front of the upstream."""

    def __init__(self, upstream: str, store: str, *more: str) -> None:
        options = ["--upstream", f"{upstream}/v1", "--store", store, "--lease-seconds", str(LEASE_SECONDS), *more]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "server", "serve", "--port", "0", *options],
            cwd=ROOT,
            env=QUIET,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    @property
    def url(self) -> str:
        """Where it listens, once it does."""
        if not hasattr(self, "_url"):
            assert self.process.stdout is not None
            found = re.search(r"http://127\.0\.0\.1:\d+", self.process.stdout.readline())
            assert found
            self._url = found[0]
        return self._url

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(scope="module")
def upstream() -> Iterator[Live]:
    with serving(base=ScriptedEngine(speak, model="base", token_delay=0.0005)) as running:
        yield running


def request(seed: int, **fields: Any) -> dict[str, Any]:
    decoder = {"name": "rc", "turns": TURNS}
    return {"model": "base", "messages": HELLO, "decoder": decoder, "seed": seed, "stream": True, **fields}


class Reader:
    """A client that reads a background stream, and comes back to it wherever it is told to."""

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self.id = ""

    @property
    def done(self) -> bool:
        return bool(self.events) and self.events[-1].endswith(b"data: [DONE]")

    def begin(self, url: str, body: dict[str, Any], most: float) -> None:
        """Read for at most so many seconds, or until the connection breaks."""
        with httpx.stream("POST", f"{url}{PATH}", json=body, timeout=30) as response:
            assert response.status_code == 200, response.read()
            self._read(response, most)

    def resume(self, url: str, most: float = 30) -> None:
        headers = {"last-event-id": str(len(self.events) - 1)} if self.events else {}
        with httpx.stream("GET", f"{url}{PATH}/{self.id}?stream=true", headers=headers, timeout=30) as response:
            assert response.status_code == 200, response.read()
            self._read(response, most)

    def _read(self, response: httpx.Response, most: float) -> None:
        end, held = time.monotonic() + most, b""
        try:
            for piece in response.iter_raw():
                *events, held = (held + piece).split(b"\n\n")
                self.events += [event for event in events if event.startswith(b"id: ")]
                if self.events and not self.id:
                    self.id = json.loads(self.events[0].partition(b"data: ")[2])["id"]
                if time.monotonic() > end:
                    return
        except httpx.HTTPError:
            return

    def text(self) -> dict[str, str]:
        return said([event.partition(b"data: ")[2] for event in self.events])


def said(events: list[bytes]) -> dict[str, str]:
    """All text of a stream, by channel."""
    texts = {"reasoning": "", "content": ""}
    for event in events:
        for choice in json.loads(event)["choices"] if event.startswith(b"{") else ():
            for channel in texts:
                texts[channel] += choice["delta"].get(channel) or ""
    return texts


def undisturbed(url: str, seed: int) -> dict[str, str]:
    answer = httpx.post(f"{url}{PATH}", json=request(seed), timeout=60)
    return said([line.removeprefix(b"data: ") for line in answer.content.split(b"\n\n")])


def test_a_replica_is_killed_twenty_times_in_the_middle_of_a_run(redis: RedisServer, upstream: Live) -> None:
    moments = random.Random(5)
    with ExitStack() as stack:
        replicas = [Replica(upstream.url, redis.url) for _ in range(3)]
        stack.callback(lambda: [replica.kill() for replica in replicas])
        for seed in range(20):
            victim, other = replicas[0], replicas[1]
            undisturbed(other.url, seed)  # waits for it to be there
            began = time.monotonic()
            expected = undisturbed(other.url, seed)
            length = time.monotonic() - began
            calls, reader = upstream.engine.calls, Reader()
            body = request(seed, background=True)
            reader.begin(victim.url, body, moments.uniform(0.02, 0.7) * length)
            assert not reader.done
            victim.kill()
            while not reader.done:
                reader.resume(other.url)
            replicas = [*replicas[1:], Replica(upstream.url, redis.url)]
            # every event once, in order, and just what any other reader gets
            assert [int(event[4:].split(b"\n")[0]) for event in reader.events] == list(range(len(reader.events)))
            again = httpx.get(f"{other.url}{PATH}/{reader.id}?stream=true", timeout=30).content
            assert again == b"".join(event + b"\n\n" for event in reader.events)
            assert reader.text() == expected
            # the step in the middle of which the replica died, and no other, was generated again
            assert upstream.engine.calls - calls in (STEPS, STEPS + 1)
            done = httpx.get(f"{other.url}{PATH}/{reader.id}").json()
            assert done["longthink"]["status"] == "completed"
            assert done["longthink"]["steps"] == STEPS
            assert done["choices"][0]["message"]["content"] == expected["content"]
        assert until(lambda: upstream.engine.open_calls == 0, 5)


def test_a_replica_that_is_told_to_stop_hands_its_runs_over(redis: RedisServer, upstream: Live) -> None:
    with ExitStack() as stack:
        replicas = [Replica(upstream.url, redis.url) for _ in range(2)]
        stack.callback(lambda: [replica.kill() for replica in replicas])
        leaving, staying = replicas
        expected = undisturbed(staying.url, 1)
        calls, readers = upstream.engine.calls, [Reader() for _ in range(4)]
        for reader in readers:
            reader.begin(leaving.url, request(1, background=True), 0.05)
        leaving.process.send_signal(signal.SIGTERM)
        assert leaving.process.wait(20) == 0
        for reader in readers:
            while not reader.done:
                reader.resume(staying.url)
            assert reader.text() == expected
        assert upstream.engine.calls - calls == 4 * STEPS  # handed over between two steps: nothing was made twice


@contextmanager
def paused(process: subprocess.Popen[str]) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def test_a_replica_that_was_only_asleep_writes_nothing_more(redis: RedisServer, upstream: Live) -> None:
    with ExitStack() as stack:
        replicas = [Replica(upstream.url, redis.url) for _ in range(2)]
        stack.callback(lambda: [replica.kill() for replica in replicas])
        sleeper, other = replicas
        expected, reader = undisturbed(other.url, 2), Reader()
        reader.begin(sleeper.url, request(2, background=True), 0.1)
        with paused(sleeper.process):
            while not reader.done:
                reader.resume(other.url)
        assert reader.text() == expected
        assert httpx.get(f"{sleeper.url}/health", timeout=10).status_code == 200
        again = httpx.get(f"{sleeper.url}{PATH}/{reader.id}?stream=true", timeout=30).content
        assert again == b"".join(event + b"\n\n" for event in reader.events)
