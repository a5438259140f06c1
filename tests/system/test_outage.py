"""Redis that dies, and a network that is cut: what was acknowledged is finished, once; meanwhile clients are told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.contract.stores.support import MISSING, Proxy, RedisServer, proxy_before, redis_is_missing, redis_server
from tests.server.conftest import Live, until
from tests.system.fleet import PATH, STEPS, Reader, Replica, request, undisturbed

# see tests/contract/stores/test_redis.py
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function StreamWriter:pytest.PytestUnraisableExceptionWarning"
)

RUNS = 8


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of its own, to be killed."""
    if redis_is_missing():
        pytest.skip(MISSING)
    with redis_server(tmp_path) as running:
        yield running


@contextmanager
def proxied(port: int) -> Iterator[tuple[Proxy, asyncio.AbstractEventLoop]]:
    """A proxy in a thread of its own, with the loop in which it is to be called."""
    loop, ready, found = asyncio.new_event_loop(), threading.Event(), list[Proxy]()
    stop = asyncio.Event()

    async def work() -> None:
        async with proxy_before(port) as proxy:
            found.append(proxy)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(work(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield found[0], loop
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


def start(url: str, seeds: range) -> list[str]:
    """Runs that the server has acknowledged."""
    answers = [httpx.post(f"{url}{PATH}", json=request(seed, background=True, stream=False)) for seed in seeds]
    assert [answer.status_code for answer in answers] == [200] * len(seeds)
    return [answer.json()["id"] for answer in answers]


def finished(url: str, id: str) -> Reader:
    """A run read from its first event to its last, by a client that comes back until it has all."""
    reader = Reader()
    reader.id = id
    while not reader.done:
        reader.resume(url)
    return reader


def check(url: str, ids: list[str], expected: list[dict[str, str]]) -> None:
    """Every run ended once, with what an undisturbed one says."""
    with ThreadPoolExecutor(len(ids)) as pool:
        readers = list(pool.map(lambda id: finished(url, id), ids))
    for id, reader, text in zip(ids, readers, expected, strict=True):
        assert reader.text() == text
        assert sum(event.endswith(b"data: [DONE]") for event in reader.events) == 1
        done = httpx.get(f"{url}{PATH}/{id}").json()
        assert (done["longthink"]["status"], done["longthink"]["steps"]) == ("completed", STEPS)


def refused(url: str) -> bool:
    """Whether a new run is refused because the store is away; one in front is not."""
    body = request(0, background=True, decoder="direct")
    answer = httpx.post(f"{url}{PATH}", json=body, timeout=30)
    if answer.status_code != 503:
        return False
    assert answer.json()["error"]["code"] == "store_unavailable"
    assert answer.headers["retry-after"]
    assert httpx.post(f"{url}{PATH}", json={**body, "background": False, "stream": False}).status_code == 200
    return True


def test_redis_is_killed_under_load(fragile: RedisServer, upstream: Live) -> None:
    with ExitStack() as stack:
        replicas = [Replica(upstream.url, fragile.url) for _ in range(2)]
        stack.callback(lambda: [replica.kill() for replica in replicas])
        one, two = (replica.url for replica in replicas)
        expected = [undisturbed(one, seed) for seed in range(RUNS)]
        calls = upstream.engine.calls
        ids = [*start(one, range(RUNS // 2)), *start(two, range(RUNS // 2, RUNS))]
        fragile.kill()
        assert until(lambda: refused(one), 20)
        assert httpx.get(f"{one}/ready").json() == {"status": "ready", "store": "unreachable"}
        fragile.start()
        check(two, ids, expected)
        assert until(lambda: httpx.get(f"{one}/ready").json()["store"] == "ready", 10)
        # besides the requests of `refused`, whose decoder makes one call each, a step in between for each run at most
        assert upstream.engine.calls - calls <= RUNS * (STEPS + 1) + 8


def test_the_network_between_a_replica_and_redis_is_cut(fragile: RedisServer, upstream: Live) -> None:
    with ExitStack() as stack:
        proxy, loop = stack.enter_context(proxied(fragile.port))
        replicas = [Replica(upstream.url, proxy.url), Replica(upstream.url, fragile.url)]
        stack.callback(lambda: [replica.kill() for replica in replicas])
        cut_off, other = (replica.url for replica in replicas)
        expected = [undisturbed(other, seed) for seed in range(4)]
        calls = upstream.engine.calls
        ids = start(cut_off, range(4))
        loop.call_soon_threadsafe(lambda: proxy.cut(silently=True))
        check(other, ids, expected)  # taken over while the replica that began them is cut off, but alive
        assert refused(cut_off)
        loop.call_soon_threadsafe(proxy.heal)
        assert until(lambda: httpx.get(f"{cut_off}/ready").json()["store"] == "ready", 20)
        check(cut_off, ids, expected)
        assert upstream.engine.calls - calls <= 4 * (STEPS + 2) + 8
