"""Runs, values and counters in one Redis: a single server or the primary that the URL leads to; not in a Redis Cluster.

A run is a hash with a stream of entries and a list of steps; a sorted set holds the leases by the time at which they
lapse. Rule: every change is one script, which checks the lease, writes, and tells who listens, or does nothing at all;
every time is the clock of Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections.abc import AsyncGenerator, Mapping, Sequence

import orjson

from server.store.base import (
    PURGED_SECONDS,
    Lease,
    LeaseLost,
    Limit,
    Purged,
    Renewal,
    Stored,
    StoreUnavailable,
    Taken,
)
from server.store.packing import pack, unpack
from server.store.redis.client import Client
from server.store.redis.listener import Listener
from server.store.signals import Bell, Bells, wait

MICRO = 1_000_000
BATCH = 500
READING = 16
_GLOB = re.compile(r"[\\*?\[\]^]")
POLL_SECONDS = 5.0
"""How often a follower looks by itself: what a notification costs that was lost."""
RETRY_SECONDS = 0.5


class RedisStore:
    """Responses are kept for `seconds` after their end; readers wait for `outage_seconds` while Redis is away."""

    durable = True

    def __init__(
        self,
        url: str,
        *,
        seconds: float,
        lease_seconds: float = 15.0,
        prefix: str = "longthink:",
        outage_seconds: float = 30.0,
    ) -> None:
        self.lease_seconds = lease_seconds
        self._lease, self._seconds = int(lease_seconds * MICRO), _milliseconds(seconds)
        self._outage_seconds = outage_seconds
        self._client = Client(url, prefix)
        # readers wait here, so that however many there are, writers find a connection at once
        self._reading = asyncio.Semaphore(READING)
        self._bells, self._changed = Bells(), Bell()
        self._listener = Listener(self._client, self._bells, self._changed)

    async def put(self, response: Stored) -> None:
        """Keep a response that is done."""
        await self._keep(response, "", self._seconds)

    async def create(self, response: Stored, holder: str) -> Lease:
        """Keep a new run."""
        if await self._keep(response, holder, "") == 0:
            raise LeaseLost(f"there is a run {response.id} already")
        return Lease(response.id, holder, 1)

    async def get(self, id: str) -> Stored | None:
        """The response of this id."""
        found = await self._client.command("HGETALL", self._key("run", id))
        return _stored(id, found) if found else None

    async def ids(self) -> list[str]:
        """Of everything that is kept."""
        begin, found, cursor = self._key("run", ""), set[str](), 0
        pattern = _GLOB.sub(r"\\\g<0>", begin) + "*"
        while True:
            cursor, keys = await self._client.command("SCAN", cursor, "MATCH", pattern, "COUNT", BATCH)
            found |= {key.decode().removeprefix(begin) for key in keys}
            if not int(cursor):
                return list(found)

    async def delete(self, id: str) -> bool:
        """Forget a response with its logs and its lease."""
        return bool(await self._client.script("delete", id))

    async def update(self, lease: Lease, body: bytes) -> None:
        """What has become of a run that goes on."""
        await self._write(lease, body=body)

    async def append(self, lease: Lease, entries: Sequence[bytes], at: int | None = None) -> None:
        """Add entries to the log."""
        await self._write(lease, entries=entries, at=at)

    async def record(self, lease: Lease, steps: Sequence[bytes]) -> None:
        """Add finished steps."""
        await self._write(lease, steps=steps)

    async def finish(self, lease: Lease, body: bytes, entries: Sequence[bytes]) -> None:
        """The last entries and the last body."""
        await self._write(lease, body=body, entries=entries, kept=self._seconds)

    async def steps(self, id: str) -> list[bytes]:
        """All recorded steps of a run."""
        return list(await self._client.command("LRANGE", self._key("steps", id), 0, -1))

    async def entries(self, id: str) -> list[bytes]:
        """The log of a run."""
        position, found = 0, []
        while True:
            _, batch = await self._read(id, position)
            found += batch
            position += len(batch)
            if len(batch) < BATCH:
                return found

    async def follow(self, id: str, after: int) -> AsyncGenerator[Sequence[bytes], None]:
        """The entries numbered above `after`, then further ones as they come."""
        position = max(after + 1, 0)
        try:
            with self._bells.listen(id) as signal:
                self._listener.ask()
                while True:
                    signal.clear()
                    goes_on, found = await self._patiently(id, position)
                    if found:
                        position += len(found)
                        yield found
                    elif goes_on:
                        await wait(signal, POLL_SECONDS)
                    if len(found) < BATCH and not goes_on:
                        return
        finally:
            self._listener.ask()

    async def renew(self, holder: str, leases: Sequence[Lease]) -> Renewal:
        """Let leases live on."""
        named = [part for lease in leases for part in (lease.id, lease.holder, lease.number)]
        lost, cancelled = await self._client.script("renew", self._lease, *named)
        return Renewal(frozenset(id.decode() for id in lost), frozenset(id.decode() for id in cancelled))

    async def claim(self, holder: str, most: int) -> list[Lease]:
        """Take over runs that nobody holds."""
        claimed = await self._client.script("claim", holder, self._lease, most)
        return [Lease(id.decode(), holder, int(number)) for id, number in zip(claimed[::2], claimed[1::2], strict=True)]

    async def release(self, lease: Lease) -> None:
        """Give a run to whoever claims it next."""
        await self._client.script("release", lease.id, lease.holder, lease.number)

    async def cancel(self, id: str) -> None:
        """Ask the holder of a run to end it."""
        await self._client.script("cancel", id)

    async def changed(self, seconds: float) -> None:
        """Wait for a release or a cancellation."""
        self._listener.ask()
        await self._changed.wait(seconds)

    async def value(self, key: str) -> bytes | None:
        """What is kept under a key."""
        found = await self._client.command("GET", self._key("value", key))
        return None if found is None else bytes(found)

    async def keep(
        self, key: str, value: bytes, seconds: float, *, new: bool = False, labels: Sequence[str] = ()
    ) -> bool:
        """Keep a value."""
        how = _milliseconds(seconds), "NX" if new else "", orjson.dumps(labels)
        return bool(_unless_purged(await self._client.script("value", key, value, *how), labels))

    async def forget(self, key: str) -> None:
        """Forget a value."""
        await self._client.command("DEL", self._key("value", key))

    async def take(self, wanted: Sequence[tuple[Limit, int]]) -> Taken:
        """Take an amount under each limit, or none."""
        asked = [part for limit, amount in wanted for part in (limit.key, limit.seconds, limit.most, amount)]
        granted, now, *used = await self._client.script("take", *asked)
        lengths = [limit.seconds * MICRO for limit, _ in wanted]
        return Taken(
            granted=bool(granted),
            left=tuple(max(0, limit.most - n) for (limit, _), n in zip(wanted, used, strict=True)),
            resets=tuple((length - now % length) / MICRO for length in lengths),
            time=now / MICRO,
        )

    async def give_back(self, wanted: Sequence[tuple[Limit, int]], time: float) -> None:
        """Return amounts to their windows."""
        returned = [part for limit, amount in wanted for part in (limit.key, limit.seconds, amount)]
        await self._client.script("give_back", round(time * MICRO), *returned)

    async def purge(self, label: str) -> int:
        """Forget what has a label."""
        return int(await self._client.script("purge", label, _milliseconds(PURGED_SECONDS)))

    async def ready(self) -> bool:
        """Whether Redis answers."""
        try:
            await self._client.command("PING")
        except StoreUnavailable:
            return False
        return True

    async def aclose(self) -> None:
        """Close all connections."""
        await self._listener.aclose()
        await self._client.aclose()

    def _key(self, kind: str, id: str) -> str:
        return f"{self._client.prefix}{kind}:{id}"

    async def _keep(self, response: Stored, holder: str, kept: int | str) -> int:
        fields: dict[str, str | bytes | int] = {
            "body": response.body,
            "input": pack(response.input),
            "context": pack(response.context),
            "order": response.order,
            "owner": response.owner,
            "background": int(response.background),
        }
        named = [part for field in fields.items() for part in field]
        head = (response.id, holder, self._lease, kept, orjson.dumps(response.labels))
        return _unless_purged(await self._client.script("keep", *head, *named), response.labels)

    async def _write(
        self,
        lease: Lease,
        *,
        body: bytes | None = None,
        steps: Sequence[bytes] = (),
        entries: Sequence[bytes] = (),
        kept: int | str = "",
        at: int | None = None,
    ) -> None:
        first = "" if at is None else at
        head = (lease.id, lease.holder, lease.number, kept, int(body is not None), body or b"", first)
        if not await self._client.script("write", *head, len(steps), *steps, *entries):
            raise LeaseLost(f"the run {lease.id} is no longer held")

    async def _read(self, id: str, position: int) -> tuple[bool, list[bytes]]:
        """Whether the run goes on, and entries from a position on.

        In this order: what is done before the entries are read has all of them.
        """
        run, log = self._key("run", id), self._key("entries", id)

        async def work() -> tuple[bool, list[bytes]]:
            pipeline = self._client.redis.pipeline(transaction=False)
            pipeline.hget(run, "done")
            pipeline.xrange(log, f"{position + 1}-0", "+", count=BATCH)
            done, found = await pipeline.execute()
            return done == b"0", [fields[b""] for _, fields in found]

        return await self._client.call(work)

    async def _patiently(self, id: str, position: int) -> tuple[bool, list[bytes]]:
        """The same, but an outage is waited for."""
        try:
            async with asyncio.timeout(self._outage_seconds):
                while True:
                    with contextlib.suppress(StoreUnavailable):
                        async with self._reading:
                            return await self._read(id, position)
                    await asyncio.sleep(RETRY_SECONDS * (0.5 + random.random()))
        except TimeoutError:
            raise StoreUnavailable(f"Redis: no answer for {self._outage_seconds:g} seconds") from None


def _unless_purged(answer: int, labels: Sequence[str]) -> int:
    if answer < 0:
        raise Purged(f"nothing of {', '.join(labels)} is kept")
    return answer


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _stored(id: str, found: Mapping[bytes, bytes]) -> Stored:
    return Stored(
        id,
        found[b"body"],
        unpack(found[b"input"]),
        unpack(found[b"context"]),
        background=found[b"background"] == b"1",
        done=found[b"done"] == b"1",
        owner=found[b"owner"].decode(),
        order=found[b"order"],
        labels=tuple(orjson.loads(found.get(b"labels", b"[]"))),
    )
