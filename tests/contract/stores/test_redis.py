"""Redis that dies, hangs, is cut off, loses replies or wants a password."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import subprocess
import traceback
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from server.store.base import Lease, Limit, Store, StoreUnavailable
from tests.contract.stores.conftest import run
from tests.contract.stores.support import (
    MISSING,
    Proxy,
    RedisServer,
    eventually,
    proxy_before,
    redis_is_missing,
    redis_server,
)
from tests.contract.stores.test_runs import new, read

LIMIT = Limit("tokens", 10**6, 86_400)

# redis-py leaves the writer of a connection that was reset while it opened to the garbage collector, which complains
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function StreamWriter:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def server(tmp_path: Path) -> Generator[RedisServer, None, None]:
    """One to do anything to."""
    if redis_is_missing():
        pytest.skip(MISSING)
    with redis_server(tmp_path) as found:
        yield found


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up soon, so that the tests do not take long."""
    from server.store.redis import client

    monkeypatch.setattr(client, "REPLY_SECONDS", 0.2)
    monkeypatch.setattr(client, "CONNECT_SECONDS", 0.2)
    monkeypatch.setattr(client, "CALL_SECONDS", 0.8)


def store_at(url: str, **options: Any) -> Store:
    from server.store.redis.store import RedisStore

    return RedisStore(url, seconds=60, lease_seconds=60, **options)


def behind_proxy(work: Callable[[Store, Proxy], Awaitable[None]], server: RedisServer) -> None:
    async def all_of_it() -> None:
        async with proxy_before(server.port) as proxy:
            store = store_at(proxy.url)
            try:
                async with asyncio.timeout(60):
                    await work(store, proxy)
            finally:
                await store.aclose()

    asyncio.run(all_of_it())


def test_what_was_acknowledged_survives_kills_and_readers_go_on(server: RedisServer) -> None:
    async def work(store: Store) -> None:
        leases = [await store.create(new(f"{n}"), "me") for n in range(4)]
        readers = [asyncio.create_task(read(store, lease.id)) for lease in leases for _ in range(3)]
        written = [0] * len(leases)
        stopping = asyncio.Event()

        async def write(lease: Lease) -> int:
            taken = 0
            while not stopping.is_set():
                await store.append(lease, [f"{written[int(lease.id)]}".encode()])
                written[int(lease.id)] += 1
                taken += (await store.take([(LIMIT, 1)])).granted
            await store.finish(lease, b"end", [])
            return taken

        writers = [asyncio.create_task(write(lease)) for lease in leases]
        for n in range(1, 5):
            await eventually(lambda n=n: _true(min(written) > 40 * n))  # type: ignore[misc]
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        stopping.set()
        taken = await asyncio.gather(*writers)
        logs = [[f"{k}".encode() for k in range(n)] for n in written]
        assert [await store.entries(lease.id) for lease in leases] == logs
        assert await asyncio.gather(*readers) == [log for log in logs for _ in range(3)]
        assert (await store.take([(LIMIT, 0)])).left == (LIMIT.most - sum(taken),)

    run(work, store_at(server.url))


async def _true(condition: bool) -> bool:
    return condition


@pytest.mark.parametrize("silently", [False, True])
def test_a_cut_network_is_told_soon_and_heals(server: RedisServer, hasty: None, silently: bool) -> None:
    async def work(store: Store, proxy: Proxy) -> None:
        lease = await store.create(new(), "me")
        reader = asyncio.create_task(read(store, "a"))
        await store.append(lease, [b"0"])
        proxy.cut(silently=silently)
        async with asyncio.timeout(20):
            for asked in (store.append(lease, [b"never"]), store.get("a"), store.claim("me", 1), store.take([])):
                with pytest.raises(StoreUnavailable):
                    await asked
            assert not await store.ready()
        proxy.heal()
        await eventually(store.ready)
        await store.append(lease, [b"1"])
        await store.finish(lease, b"end", [b"2"])
        log = await store.entries("a")
        # what was sent into the silence may have arrived, but only once
        assert log in ([b"0", b"1", b"2"], [b"0", b"never", b"1", b"2"])
        assert await reader == log

    behind_proxy(work, server)


def test_a_hanging_server_is_told_soon_and_heals(server: RedisServer, hasty: None) -> None:
    async def work(store: Store) -> None:
        lease = await store.create(new(), "me")
        reader = asyncio.create_task(read(store, "a"))
        await store.append(lease, [b"0"])
        server.hang()
        async with asyncio.timeout(20):
            with pytest.raises(StoreUnavailable):
                await store.append(lease, [b"unknown"])
        server.go_on()
        await eventually(store.ready)
        await store.finish(lease, b"end", [b"1"])
        log = await store.entries("a")
        assert log in ([b"0", b"1"], [b"0", b"unknown", b"1"])
        assert await reader == log

    run(work, store_at(server.url))


def test_a_lost_reply_repeats_nothing(server: RedisServer) -> None:
    async def work(store: Store, proxy: Proxy) -> None:
        lease = await store.create(new("first"), "me")  # the server knows the scripts from here on
        await store.append(lease, [b"0"])
        await store.take([(LIMIT, 1)])
        await store.keep("k", b"0", 60)
        await store.claim("me", 1)
        await store.delete("none")

        proxy.lose_replies(2)
        lease = await store.create(new(), "me")
        for n in range(3):
            proxy.lose_replies(n)
            await store.append(lease, [f"{n}".encode()])
            await store.record(lease, [f"{n}".encode()])
        proxy.lose_replies(1)
        taken = await store.take([(LIMIT, 5)])
        assert taken.granted
        assert taken.left == (LIMIT.most - 6,)
        proxy.lose_replies(1)
        await store.give_back([(LIMIT, 2)], taken.time)
        assert (await store.take([(LIMIT, 0)])).left == (LIMIT.most - 4,)
        proxy.lose_replies(1)
        assert await store.keep("new", b"mine", 60, new=True)
        await store.release(lease)
        proxy.lose_replies(1)
        (lease,) = await store.claim("you", 5)
        proxy.lose_replies(1)
        await store.finish(lease, b"end", [b"3"])
        assert await store.entries("a") == [b"0", b"1", b"2", b"3"]
        assert await store.steps("a") == [b"0", b"1", b"2"]
        proxy.lose_replies(1)
        assert await store.delete("a")

    behind_proxy(work, server)


def test_readers_give_up_on_an_outage_that_lasts(server: RedisServer, hasty: None) -> None:
    async def work(store: Store) -> None:
        await store.create(new(), "me")
        reader = asyncio.create_task(read(store, "a"))
        await asyncio.sleep(0)
        await asyncio.to_thread(server.stop)
        with pytest.raises(StoreUnavailable):
            await read(store, "a")
        reader.cancel()

    run(work, store_at(server.url, outage_seconds=0.1))


def test_a_thousand_readers_need_few_connections(server: RedisServer) -> None:
    async def work(store: Store) -> None:
        lease = await store.create(new(), "me")
        readers = [asyncio.create_task(read(store, "a", n % 3)) for n in range(1000)]
        for n in range(20):
            await store.append(lease, [f"{n}".encode()])
            await asyncio.sleep(0)
        with closing(redis.Redis(port=server.port)) as client:
            assert client.info("clients")["connected_clients"] < 40
        await store.finish(lease, b"end", [])
        log = [f"{n}".encode() for n in range(20)]
        assert await asyncio.gather(*readers) == [log[n % 3 + 1 :] for n in range(1000)]

    run(work, store_at(server.url))


def test_readers_are_told_again_after_the_notifications_were_cut(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from server.store.redis import listener, store

    monkeypatch.setattr(store, "POLL_SECONDS", 1000)
    monkeypatch.setattr(listener, "RETRY_SECONDS", 0.05)

    async def work(store: Store) -> None:
        lease = await store.create(new(), "me")
        readers = [asyncio.create_task(read(store, "a")) for _ in range(5)]
        with closing(redis.Redis(port=server.port)) as client:
            for n in range(60):
                if n % 20 == 10:
                    await eventually(lambda: _true(client.pubsub_numsub("longthink:run:a")[0][1] == 1))
                    client.client_kill_filter(_type="pubsub")
                await store.append(lease, [f"{n}".encode()])
        await store.finish(lease, b"end", [])
        assert await asyncio.gather(*readers) == [[f"{n}".encode() for n in range(60)]] * 5

    run(work, store_at(server.url))


def test_a_lost_notification_costs_time_only(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from server.store.redis import store

    monkeypatch.setattr(store, "POLL_SECONDS", 0.05)

    async def work(store: Store) -> None:
        await store.create(new(), "me")
        reader = store.follow("a", -1)
        waiting = asyncio.create_task(anext(reader))
        with closing(redis.Redis(port=server.port)) as client:
            await eventually(lambda: _true(client.pubsub_numsub("longthink:run:a")[0][1] == 1))
            client.xadd("longthink:entries:a", {"": "untold"}, "1-0")
        assert await waiting == [b"untold"]
        await reader.aclose()

    run(work, store_at(server.url))


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[RedisServer]:
    if redis_is_missing():
        pytest.skip(MISSING)
    with redis_server(tmp_path, "--requirepass", "right-horse") as found:
        yield found


def test_a_password_is_used_and_never_told(locked: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def right(store: Store) -> None:
        assert await store.ready()
        assert await store.keep("k", b"1", 60)

    async def wrong(store: Store) -> None:
        with pytest.raises(StoreUnavailable) as raised:
            await store.get("a")
        told = "".join(traceback.format_exception(raised.value))
        assert "wrong-horse" not in told
        assert "Redis" in told
        changing = asyncio.create_task(store.changed(1000))

        async def logged() -> bool:
            return "listening again" in caplog.text

        await eventually(logged)
        changing.cancel()
        assert "wrong-horse" not in caplog.text

    address = f"127.0.0.1:{locked.port}"
    run(right, store_at(f"redis://:right-horse@{address}/3"))
    run(wrong, store_at(f"redis://:wrong-horse@{address}/3"))


def test_a_connection_can_be_encrypted(tmp_path: Path) -> None:
    if redis_is_missing() or shutil.which("openssl") is None:
        pytest.skip(MISSING + " openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    made = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    subprocess.run([*made, *names, *files], check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tls = ["--tls-port", str(port), "--tls-auth-clients", "no", "--tls-ca-cert-file", str(certificate)]

    async def work(store: Store) -> None:
        await store.finish(await store.create(new(), "me"), b"end", [b"0"])
        assert await read(store, "a") == [b"0"]

    async def refused(store: Store) -> None:
        assert not await store.ready()

    with redis_server(tmp_path, *tls, "--tls-cert-file", str(certificate), "--tls-key-file", str(key)):
        run(work, store_at(f"rediss://localhost:{port}/0?ssl_ca_certs={certificate}"))
        run(refused, store_at(f"rediss://localhost:{port}/0"))
