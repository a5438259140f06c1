"""Whose turn it is. The work is done by hand here, so that every order is exact."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from server.admission.caller import Terms
from server.admission.queue import Place, Queue
from server.admission.refusals import RateLimited
from server.connections import HandOver, Refused

pytestmark = pytest.mark.anyio
A, B, C = Terms("a"), Terms("b"), Terms("c")


class Crowd:
    """Requests on their way through a queue, and the order in which they got their turns."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.turns: list[str] = []
        self.places: list[Place] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def come(self, terms: Terms, count: int = 1, tokens: int = 10, priority: int = 0, firm: bool = False) -> None:
        for _ in range(count):
            self.tasks.append(asyncio.create_task(self._pass(terms, tokens, priority, firm)))
            await asyncio.sleep(0)

    async def work(self, count: int) -> list[str]:
        """The next turns, each once the one before it is over."""
        before = len(self.turns)
        while len(self.turns) < before + count:
            self.places.pop(0).leave()
            await asyncio.sleep(0)
        return self.turns[before:]

    async def _pass(self, terms: Terms, tokens: int, priority: int, firm: bool) -> None:
        place = await self.queue.enter(terms, tokens, priority, firm=firm)
        self.turns.append(terms.id)
        self.places.append(place)


async def test_without_a_limit_nobody_waits() -> None:
    crowd = Crowd(Queue())
    await crowd.come(A, 50)
    assert (crowd.queue.running, crowd.queue.waiting) == (50, 0)


async def test_a_flood_does_not_keep_others_from_their_share() -> None:
    crowd = Crowd(Queue(1))
    await crowd.come(A, 100)
    await crowd.come(B, 10)
    assert Counter(await crowd.work(20)) == {"a": 10, "b": 10}


async def test_shares_are_of_tokens() -> None:
    crowd = Crowd(Queue(1))
    await crowd.come(C)
    await crowd.come(A, 50, tokens=30)
    await crowd.come(B, 50, tokens=10)
    assert Counter(await crowd.work(40)) == {"a": 10, "b": 30}


async def test_what_was_not_used_is_not_saved_up() -> None:
    crowd = Crowd(Queue(1))
    await crowd.come(A, 60)
    await crowd.work(40)
    await crowd.come(B, 20)
    assert Counter(await crowd.work(18)) == {"a": 9, "b": 9}


async def test_smaller_priorities_first_then_who_came_first() -> None:
    crowd = Crowd(Queue(1))
    await crowd.come(Terms("first"))
    for name, priority in (("late", 5), ("x", 0), ("y", 0), ("urgent", -1)):
        await crowd.come(Terms(name), priority=priority)
    assert await crowd.work(4) == ["urgent", "x", "y", "late"]


async def test_a_key_has_no_more_at_work_than_it_may() -> None:
    crowd, narrow = Crowd(Queue(4)), Terms("narrow", max_running=2)
    await crowd.come(narrow, 5)
    assert (crowd.queue.running, crowd.queue.waiting) == (2, 3)
    await crowd.come(B, 3)
    assert crowd.turns == ["narrow", "narrow", "b", "b"]
    assert await crowd.work(1) == ["narrow"]
    assert (crowd.queue.running, crowd.queue.waiting) == (4, 3)


async def test_who_leaves_makes_room_at_once() -> None:
    crowd = Crowd(Queue(1, 1))
    await crowd.come(A, 2)
    crowd.tasks[1].cancel()
    await asyncio.gather(crowd.tasks[1], return_exceptions=True)
    assert crowd.queue.waiting == 0
    await crowd.come(B)
    assert await crowd.work(1) == ["b"]


async def test_a_turn_that_comes_as_its_owner_leaves_is_passed_on() -> None:
    crowd = Crowd(Queue(1))
    await crowd.come(A, 3)
    crowd.places.pop().leave()
    crowd.tasks[1].cancel()  # it has its turn, and does not know yet
    await asyncio.gather(crowd.tasks[1], return_exceptions=True)
    await asyncio.sleep(0)
    assert (crowd.turns, crowd.queue.running, crowd.queue.waiting) == (["a", "a"], 1, 0)
    crowd.places.pop().leave()
    assert (crowd.queue.running, crowd.queue._classes) == (0, {})


async def test_a_full_queue_drops_the_last_of_who_holds_most() -> None:
    crowd = Crowd(Queue(1, 4))
    await crowd.come(A, 5)
    with pytest.raises(Refused, match="4 requests are waiting"):  # alone it holds no more than its share
        await crowd.queue.enter(A, 10)
    await crowd.come(B)
    with pytest.raises(RateLimited) as dropped:
        await crowd.tasks[4]
    assert dropped.value.headers == {"retry-after": "1"}
    await crowd.come(B)
    with pytest.raises(RateLimited):
        await crowd.tasks[3]
    with pytest.raises(RateLimited):  # two each, and a third is more than a share
        await crowd.queue.enter(B, 10)
    await crowd.come(C)
    assert crowd.queue.waiting == 4
    assert Counter(await crowd.work(4)) == {"a": 1, "b": 2, "c": 1}
    assert sum(isinstance(t.exception(), RateLimited) for t in crowd.tasks if t.done()) == 3


async def test_what_was_accepted_before_is_not_refused() -> None:
    crowd = Crowd(Queue(1, 1))
    await crowd.come(A)
    await crowd.come(A, 3, firm=True)
    with pytest.raises(Refused):
        crowd.queue.check(A)
    crowd.queue.check(B)
    with pytest.raises(Refused):
        await crowd.queue.enter(B, 10)
    assert await crowd.work(3) == ["a"] * 3


async def test_the_end_sends_everybody_away_who_waits() -> None:
    crowd = Crowd(Queue(1))
    await crowd.come(A, 3)
    crowd.queue.close()
    ends = await asyncio.gather(*crowd.tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [type(None), Refused, Refused]
    with pytest.raises(Refused, match="shutting down"):
        await crowd.queue.enter(B, 10)
    with pytest.raises(Refused, match="shutting down"):
        crowd.queue.check(B)


async def test_nothing_is_kept_of_priorities_that_have_passed() -> None:
    crowd = Crowd(Queue(1))
    for priority in range(50):
        await crowd.come(A, priority=priority)
        crowd.places.pop().leave()
    assert (crowd.queue._classes, crowd.queue.running, crowd.queue.waiting) == ({}, 0, 0)


async def test_at_the_end_accepted_runs_are_handed_over() -> None:
    crowd = Crowd(Queue(1))
    await crowd.come(A)
    await crowd.come(A, firm=True)
    crowd.queue.close()
    with pytest.raises(HandOver):
        await crowd.tasks[1]
    with pytest.raises(HandOver):
        await crowd.queue.enter(A, 10, firm=True)
