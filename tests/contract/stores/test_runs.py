"""What every store does with responses, logs and leases."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from server.store.base import Lease, LeaseLost, Renewal, Store, Stored
from tests.contract.stores.conftest import Open, run
from tests.contract.stores.support import eventually

FULL = Stored(
    "full",
    body='{"text": "ä\\u0000\\n"}'.encode(),
    input=(b'{"a":1}', b"", b"[\n]"),
    context=(b"x" * 3000, b"\x00\xff"),
    background=True,
    done=True,
    owner="key-1",
    order=b'{"decoder": "rc"}',
)


def new(id: str = "a") -> Stored:
    return Stored(id, b"{}", background=True, order=b"order")


async def read(store: Store, id: str, after: int = -1) -> list[bytes]:
    return [entry async for entries in store.follow(id, after) for entry in entries]


def test_what_is_put_comes_back_whole(opened: Open) -> None:
    async def work(store: Store) -> None:
        assert await store.get("full") is None
        await store.put(FULL)
        assert await store.get("full") == FULL
        await store.put(replace(FULL, body=b"{}", context=()))
        assert await store.get("full") == replace(FULL, body=b"{}", context=())
        assert await store.entries("full") == await store.steps("full") == await read(store, "full") == []

    run(work, opened())


def test_a_run_is_created_written_and_finished(opened: Open) -> None:
    async def work(store: Store) -> None:
        lease = await store.create(replace(FULL, done=False), "me")
        assert lease == Lease("full", "me", 1)
        assert await store.get("full") == replace(FULL, done=False)
        await store.update(lease, b"halfway")
        await store.append(lease, [b"0", b"", b"2" * 5000])
        await store.append(lease, [])
        await store.record(lease, [b"step 0"])
        await store.record(lease, [b"step 1", b"\x00"])
        assert await store.get("full") == replace(FULL, body=b"halfway", done=False)
        assert await store.entries("full") == [b"0", b"", b"2" * 5000]
        await store.finish(lease, b"whole", [b"3"])
        assert await store.get("full") == replace(FULL, body=b"whole")
        assert await store.entries("full") == await read(store, "full") == [b"0", b"", b"2" * 5000, b"3"]
        assert await store.steps("full") == [b"step 0", b"step 1", b"\x00"]

    run(work, opened())


def test_entries_that_are_there_already_are_not_added_again(opened: Open) -> None:
    async def work(store: Store) -> None:
        lease = await store.create(new(), "me")
        for at, entries in ((0, [b"0"]), (0, [b"0"]), (0, [b"0", b"1"]), (2, [b"2", b"3"]), (1, [b"1"]), (2, [b"2"])):
            await store.append(lease, entries, at)
        assert await store.entries(lease.id) == [b"0", b"1", b"2", b"3"]
        await store.append(lease, [b"4"], 4)
        await store.append(lease, [b"5"])
        assert await store.entries(lease.id) == [b"%d" % n for n in range(6)]

    run(work, opened())


def test_an_id_is_created_once(opened: Open) -> None:
    async def work(store: Store) -> None:
        lease = await store.create(new(), "me")
        with pytest.raises(LeaseLost):
            await store.create(new(), "you")
        await store.append(lease, [b"still mine"])

    run(work, opened())


def test_a_deleted_run_is_gone_and_refuses_its_holder(opened: Open) -> None:
    async def work(store: Store) -> None:
        lease = await store.create(new(), "me")
        await store.append(lease, [b"0"])
        await store.record(lease, [b"step"])
        assert await store.delete("a")
        assert not await store.delete("a")
        assert await store.get("a") is None
        assert await store.entries("a") == await store.steps("a") == await read(store, "a") == []
        await refused(store, lease)
        assert await store.renew("me", [lease]) == Renewal(lost=frozenset({"a"}))
        assert await store.claim("you", 10) == []

    run(work, opened())


async def refused(store: Store, lease: Lease) -> None:
    """All writing with this lease fails and leaves no mark."""
    before = (await store.get(lease.id), await store.entries(lease.id), await store.steps(lease.id))
    for writing in (
        store.update(lease, b"late"),
        store.append(lease, [b"late"]),
        store.append(lease, []),
        store.record(lease, [b"late"]),
        store.finish(lease, b"late", [b"late"]),
    ):
        with pytest.raises(LeaseLost):
            await writing
    await store.release(lease)
    assert (await store.get(lease.id), await store.entries(lease.id), await store.steps(lease.id)) == before


def test_an_older_holder_is_refused_after_a_takeover(opened: Open) -> None:
    async def work(store: Store) -> None:
        old = await store.create(new(), "me")
        await store.append(old, [b"0"])
        (taken,) = await eventually(lambda: store.claim("you", 10))
        assert taken == Lease("a", "you", 2)
        await refused(store, old)
        assert await store.renew("me", [old]) == Renewal(lost=frozenset({"a"}))
        await store.append(taken, [b"1"])
        # the same holder, come back, is somebody else
        (again,) = await eventually(lambda: store.claim("me", 10))
        assert again == Lease("a", "me", 3)
        await refused(store, old)
        await refused(store, taken)
        await store.finish(again, b"end", [b"2"])
        assert await read(store, "a") == [b"0", b"1", b"2"]
        await refused(store, again)
        assert await store.claim("you", 10) == []

    run(work, opened(lease_seconds=0.05))


def test_a_lapsed_lease_that_nobody_claimed_lives_again(opened: Open) -> None:
    async def work(store: Store) -> None:
        lease = await store.create(new(), "me")
        await asyncio.sleep(0.1)  # nothing tells that a lease has lapsed but the one claim that ends it
        await store.append(lease, [b"0"])
        assert await store.renew("me", [lease]) == Renewal()

    run(work, opened(lease_seconds=0.05))


def test_a_lease_that_lives_is_not_claimed(opened: Open) -> None:
    async def work(store: Store) -> None:
        lease = await store.create(new(), "me")
        assert await store.claim("you", 10) == []
        assert await store.renew("me", [lease]) == Renewal()
        assert await store.claim("you", 10) == []

    run(work, opened())


def test_what_is_released_is_claimed_at_once_by_exactly_one(opened: Open) -> None:
    async def work(store: Store) -> None:
        leases = [await store.create(new(f"{n}"), "me") for n in range(20)]
        for lease in leases:
            await store.release(lease)
            await refused(store, lease)
        assert (await store.renew("me", leases)).lost == {f"{n}" for n in range(20)}
        assert [lease.id for lease in await store.claim("first", 2)] == ["0", "1"]
        claims = await asyncio.gather(*(store.claim(f"holder {n}", 3) for n in range(32)))
        claimed = [lease for some in claims for lease in some]
        assert sorted(lease.id for lease in claimed) == sorted(f"{n}" for n in range(2, 20))
        assert all(len(some) <= 3 for some in claims)
        for lease in claimed:
            assert lease.number == 2
            await store.append(lease, [lease.holder.encode()])

    run(work, opened())


def test_who_holds_a_run_and_who_claims_it_learn_that_it_was_cancelled(opened: Open) -> None:
    async def work(store: Store) -> None:
        lease, other = await store.create(new(), "me"), await store.create(new("b"), "me")
        await store.cancel("a")
        await store.cancel("there is none")
        assert await store.renew("me", [lease, other]) == Renewal(cancelled=frozenset({"a"}))
        await store.release(lease)
        (taken,) = await store.claim("you", 10)
        assert await store.renew("you", [taken]) == Renewal(cancelled=frozenset({"a"}))
        await store.finish(taken, b"cancelled", [])
        await store.cancel("a")
        found = await store.get("a")
        assert found is not None
        assert found.done

    run(work, opened())


async def quiet(store: Store) -> None:
    """Until a wait for changes has lasted its whole time: it may end without a reason, but not always."""
    clock = asyncio.get_running_loop().time
    for _ in range(20):
        began = clock()
        await store.changed(0.2)
        if clock() - began > 0.19:
            return
    raise AssertionError("waits end although nothing happens")


def test_whoever_waits_for_changes_is_woken(opened: Open) -> None:
    async def work(store: Store) -> None:
        lease = await store.create(new(), "me")
        await quiet(store)
        waiting = asyncio.create_task(store.changed(1000))
        await store.cancel("a")
        await waiting
        await quiet(store)
        await store.release(lease)
        await store.changed(1000)  # who was busy meanwhile is told too
        await quiet(store)

    run(work, opened())


def test_no_follower_loses_or_repeats_an_entry(opened: Open) -> None:
    async def work(store: Store) -> None:
        lease = await store.create(new(), "me")
        log = [f"{n}".encode() * (1 + n % 7) for n in range(1300)]
        dice = random.Random(7)
        await store.append(lease, log[:50])
        starts = [-1, 0, 48, 49, 50, 1298, 1299, 5000, *(dice.randrange(-1, 1300) for _ in range(40))]
        readers = [asyncio.create_task(read(store, "a", after)) for after in starts]
        position = 50
        while position < len(log):
            end = position + dice.choice([1, 2, 3, 20, 60])
            await store.append(lease, log[position:end])
            position = end
        readers.append(asyncio.create_task(read(store, "a")))
        await store.finish(lease, b"end", [b"last"])
        found = await asyncio.gather(*readers)
        for after, entries in zip([*starts, -1], found, strict=True):
            assert entries == [*log, b"last"][after + 1 :]

    run(work, opened())


def test_all_that_is_kept_has_an_id(opened: Open) -> None:
    async def work(store: Store) -> None:
        assert await store.ids() == []
        lease = await store.create(new(), "me")
        await store.create(new("b"), "me")
        await store.put(FULL)
        await store.keep("c", b"value", 60.0)
        assert sorted(await store.ids()) == ["a", "b", "full"]
        await store.finish(lease, b"end", [])
        await store.delete("b")
        assert sorted(await store.ids()) == ["a", "full"]

    run(work, opened())


def test_followers_end_with_the_run_or_its_deletion(opened: Open) -> None:
    async def work(store: Store) -> None:
        lease = await store.create(new(), "me")
        await store.create(new("b"), "me")
        readers = [asyncio.create_task(read(store, id)) for id in "aabb"]
        await asyncio.sleep(0)
        await store.finish(lease, b"end", [])
        assert await readers[0] == await readers[1] == []
        assert await store.delete("b")
        assert await readers[2] == await readers[3] == []
        assert await read(store, "there is none") == []

    run(work, opened())


def test_responses_are_forgotten_some_time_after_their_end(opened: Open) -> None:
    async def work(store: Store) -> None:
        lease, other = await store.create(new(), "me"), await store.create(new("b"), "me")
        await store.append(lease, [b"0"])
        await store.record(lease, [b"0"])
        await store.finish(lease, b"end", [b"1"])
        await store.put(FULL)

        async def gone(id: str) -> bool:
            return await store.get(id) is None

        await eventually(lambda: gone("a"))
        await eventually(lambda: gone("full"))
        assert await store.entries("a") == await store.steps("a") == await read(store, "a") == []
        assert not await store.delete("a")
        await store.append(other, [b"runs"])
        assert not await gone("b")

    run(work, opened(seconds=0.1))
