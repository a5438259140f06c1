"""What every store counts."""

from __future__ import annotations

import asyncio

from server.store.base import Limit, Store
from tests.contract.stores.conftest import Open, run
from tests.contract.stores.support import eventually

DAY = 86_400


def test_all_limits_are_taken_or_none(opened: Open) -> None:
    async def work(store: Store) -> None:
        requests, tokens = Limit("requests", 3, DAY), Limit("tokens", 100, DAY)
        first = await store.take([(requests, 1), (tokens, 60)])
        assert (first.granted, first.left) == (True, (2, 40))
        assert first.resets[0] == first.resets[1]
        assert abs(first.resets[0] - (DAY - first.time % DAY)) < 0.001
        refused = await store.take([(requests, 1), (tokens, 41)])
        assert (refused.granted, refused.left) == (False, (2, 40))
        assert (await store.take([(tokens, 40)])).left == (0,)
        assert (await store.take([(tokens, 0)])).granted
        assert not (await store.take([(tokens, 1)])).granted
        assert (await store.take([(requests, 2)])).left == (0,)
        assert (await store.take([])).granted
        twice = Limit("twice", 3, DAY)
        assert not (await store.take([(twice, 2), (twice, 2)])).granted
        assert (await store.take([(twice, 2), (twice, 1)])).left == (0, 0)

    run(work, opened())


def test_what_is_given_back_can_be_taken_again(opened: Open) -> None:
    async def work(store: Store) -> None:
        limit = Limit("tokens", 100, DAY)
        taken = await store.take([(limit, 80)])
        await store.give_back([(limit, 50)], taken.time)
        assert (await store.take([(limit, 0)])).left == (70,)
        await store.give_back([(limit, -90)], taken.time)
        full = await store.take([(limit, 1)])
        assert (full.granted, full.left) == (False, (0,))
        await store.give_back([(limit, 30)], taken.time)
        assert (await store.take([(limit, 0)])).left == (10,)
        await store.give_back([(limit, 1000)], taken.time)
        assert (await store.take([(limit, 0)])).left == (100,)
        await store.give_back([(limit, -30)], taken.time - DAY)
        assert (await store.take([(limit, 0)])).left == (100,)

    run(work, opened())


def test_every_window_begins_anew(opened: Open) -> None:
    async def work(store: Store) -> None:
        limit, other = Limit("requests", 2, 1), Limit("requests", 2, DAY)
        first = await store.take([(limit, 2), (other, 1)])
        assert 0 < first.resets[0] <= 1

        async def again() -> bool:
            return (await store.take([(limit, 1)])).granted

        await eventually(again)
        now = await store.take([(other, 0)])
        assert now.left == (1,)
        assert int(now.time) > int(first.time)
        # the window that it was taken in is over: it changes nothing in this one
        before = await store.take([(limit, 0)])
        await store.give_back([(limit, 1)], first.time)
        after = await store.take([(limit, 0)])
        assert after.left == before.left or int(after.time) > int(before.time)

    run(work, opened())


def test_exactly_the_limit_is_granted_to_all_together(opened: Open) -> None:
    async def work(one: Store, other: Store) -> None:
        limit, half = Limit("tokens", 100, DAY), Limit("half", 50, DAY)
        takers = [(one, other)[n % 2].take([(limit, 7), (half, n % 3)]) for n in range(60)]
        granted = [n % 3 for n, taken in enumerate(await asyncio.gather(*takers)) if taken.granted]
        assert len(granted) == 14
        assert (await one.take([(limit, 0)])).left == (2,)
        assert (await other.take([(half, 0)])).left == (50 - sum(granted),)

    run(work, opened(), opened())
