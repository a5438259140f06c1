"""What keys have left, to the token: claims, settlements, and the ways in which they can go wrong."""

from __future__ import annotations

import asyncio

import pytest

from server.admission.caller import Caller, Terms
from server.admission.limits import Limits
from server.admission.permit import Permit
from server.admission.queue import Queue
from server.admission.refusals import RateLimited
from server.connections import Refused
from server.store.base import StoreUnavailable
from tests.server.admission.counting import CountingStore

pytestmark = pytest.mark.anyio


def permit(store: CountingStore, terms: Terms, tokens: int = 10, queue: Queue | None = None, **more: object) -> Permit:
    return Permit(Limits(store), queue or Queue(), Caller(terms), tokens, **more)  # type: ignore[arg-type]


async def use(permit: Permit, spent: int) -> None:
    async with permit.turn(lambda: spent):
        await asyncio.sleep(0)


async def test_of_a_thousand_at_once_a_hundred_pass() -> None:
    store, terms = CountingStore(), Terms("k", requests_per_minute=100)
    tried = await asyncio.gather(*(use(permit(store, terms), 1) for _ in range(1000)), return_exceptions=True)
    assert tried.count(None) == 100
    assert sum(isinstance(error, RateLimited) for error in tried) == 900


async def test_tokens_are_exact_however_many_run_at_once() -> None:
    store, terms, most = CountingStore(), Terms("k", tokens_per_day=1000), 0

    async def watched(one: Permit, spent: int) -> None:
        nonlocal most
        async with one.turn(lambda: spent):
            await asyncio.sleep(0)
            most = max(most, store.tokens("k"))

    spent = [i % 11 for i in range(1000)]
    tried = await asyncio.gather(*(watched(permit(store, terms), s) for s in spent), return_exceptions=True)
    passed = [s for s, error in zip(spent, tried, strict=True) if error is None]
    assert store.tokens("k") == sum(passed)
    assert most <= 1000
    assert len(passed) == 100


async def test_what_failed_or_left_pays_for_what_it_spent() -> None:
    store, terms = CountingStore(), Terms("k", tokens_per_minute=100, tokens_per_day=1000)

    async def failing() -> None:
        async with permit(store, terms).turn(lambda: 4):
            raise RuntimeError

    async def endless() -> None:
        async with permit(store, terms).turn(lambda: 3):
            await asyncio.Event().wait()

    with pytest.raises(RuntimeError):
        await failing()
    leaving = asyncio.create_task(endless())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert store.tokens("k") == 14
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert store.tokens("k") == store.tokens("k", "minute") == 7


async def test_who_gets_no_turn_pays_no_tokens() -> None:
    store, terms, queue = CountingStore(), Terms("k", tokens_per_day=100), Queue(1, 1)
    place = await queue.enter(Terms(), 1)
    with pytest.raises(Refused, match="deadline"):
        await use(permit(store, terms, queue=queue, deadline=0.001), 0)
    assert (store.tokens("k"), queue.waiting) == (0, 0)
    place.leave()


async def test_a_claim_belongs_to_the_window_it_was_made_in() -> None:
    store, terms = CountingStore(), Terms("k", tokens_per_minute=20)
    async with permit(store, terms).turn(lambda: 1):
        store.now += 60
        await use(permit(store, terms, 20), 20)
    with pytest.raises(RateLimited):
        await use(permit(store, terms, 1), 1)


async def test_a_refusal_says_when_to_come_again() -> None:
    store, terms = CountingStore(), Terms("k", requests_per_minute=1, tokens_per_day=15)
    await use(first := permit(store, terms), 10)
    assert first.caller.claim.headers == {
        "x-ratelimit-limit-requests": "1",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "60s",
        "x-ratelimit-limit-tokens": "15",
        "x-ratelimit-remaining-tokens": "5",
        "x-ratelimit-reset-tokens": f"{86_400 - 7 * 60}s",
    }
    store.now += 0.5
    with pytest.raises(RateLimited, match="0 of its 1 requests per minute left") as minute:
        await use(permit(store, terms, 5), 5)
    assert (minute.value.kind, minute.value.headers) == ("requests", {"retry-after": "60"})
    with pytest.raises(RateLimited, match="5 of its 15 tokens per day left, and this request takes 6") as day:
        await use(permit(store, terms, 6), 5)
    assert (day.value.kind, day.value.headers) == ("tokens", {"retry-after": str(86_400 - 7 * 60)})
    assert store.tokens("k") == 10


async def test_a_store_out_of_reach_admits_nobody_and_keeps_what_was_taken() -> None:
    store, terms = CountingStore(), Terms("k", tokens_per_day=15)
    async with permit(store, terms).turn(lambda: 1):
        store.away = True
    with pytest.raises(StoreUnavailable):
        await use(permit(store, terms, 1), 1)
    await use(permit(store, Terms("free")), 1)  # a key without limits needs no store
    store.away = False
    assert store.tokens("k") == 10  # too much rather than too little


async def test_a_run_that_changes_hands_is_charged_once() -> None:
    store, terms = CountingStore(), Terms("k", requests_per_minute=5, tokens_per_day=100)
    first = permit(store, terms, 40, lasting=True)
    await first.claim()
    await first.claim()
    async with first.turn(lambda: 10):
        kept = first.caller.dump()
    assert store.tokens("k") == 40  # the replica is gone, the claim stays
    second = Permit(Limits(store), Queue(), Caller.load(kept), 40, lasting=True)
    async with second.turn(lambda: 25):
        assert store.tokens("k") == 40
    await second.settle(25)
    await second.settle(25)
    assert store.tokens("k") == 25
    assert sum(used for (key, _), used in store.used.items() if key == "requests/minute/k") == 1


def test_budgets_that_no_window_can_hold_are_never_asked_for() -> None:
    assert Terms(max_budget=50, tokens_per_minute=30, tokens_per_day=1000).budget(100) == 30
    assert Terms(max_budget=500).budget(100) == 100
    assert Terms().budget(100) == 100
