"""Replicas that are killed in the middle of runs: nothing is lost, nothing is made twice, and no reader can tell."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx

from tests.contract.stores.support import RedisServer
from tests.server.conftest import Live, until
from tests.system.fleet import PATH, STEPS, Reader, Replica, request, undisturbed


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
