"""Whose turn it is, where more requests want to run than may: bounded, and fair between keys.

Smaller priorities go first. Within a priority it is start-time fair queuing: each key has a clock that runs on by the
budget of every request that gets a turn, and the key whose clock is behind is next. So keys that always have something
waiting get equal tokens, not equal requests, and one that asks for large budgets waits longer between them. A key that
comes back starts at the time of the others: what it did not use is not saved up.

Rule: a place that is left, for whatever reason, is free at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from itertools import count

from decoders.core.errors import LongThinkError
from server.admission.caller import Terms
from server.admission.refusals import RateLimited
from server.connections import HandOver, Refused

_RETRY_SECONDS = 1.0


class _Class:
    """The requests of one priority; it begins anew, at time 0, once all of them are gone."""

    def __init__(self) -> None:
        self.time = 0
        self.places = 0
        self.flows: dict[str, _Flow] = {}


class _Flow:
    """A key's requests of one priority that wait, and its clock, in tokens."""

    def __init__(self, key: str, priority: int, peers: _Class) -> None:
        self.key, self.priority, self.peers = key, priority, peers
        self.time = 0
        self.waiting: deque[Place] = deque()

    @property
    def rank(self) -> tuple[int, int, int]:
        """The smallest is next."""
        return self.priority, self.time, self.waiting[0].number


class Place:
    """A request in the queue, then at work. One that is `firm` was accepted before and is not refused any more."""

    def __init__(self, queue: Queue, flow: _Flow, terms: Terms, tokens: int, number: int, *, firm: bool) -> None:
        self._queue, self.flow, self.terms, self.tokens, self.firm = queue, flow, terms, tokens, firm
        self.number = number
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def leave(self) -> None:
        """The work is over."""
        self._queue._left(self)


class Queue:
    """At most `max_running` requests at work, None for any number, and `max_waiting` that wait."""

    def __init__(self, max_running: int | None = None, max_waiting: int = 1024) -> None:
        self._max_running, self._max_waiting = max_running, max_waiting
        self._classes: dict[int, _Class] = {}
        self._running, self._waiting = Counter[str](), Counter[str]()
        self._numbers = count()
        self._closed = False

    @property
    def running(self) -> int:
        """Requests at work."""
        return self._running.total()

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return self._waiting.total()

    async def enter(self, terms: Terms, tokens: int, priority: int = 0, *, firm: bool = False) -> Place:
        """Wait for a turn. Raises `RateLimited` or `Refused` where the queue is full, `Refused` at shutdown."""
        if self._closed:
            raise _end(firm)
        place = self._append(terms, tokens, priority, firm)
        self._dispatch()
        if not firm and self.waiting > self._max_waiting and not place.turn.done():
            self._push_out(place)
        try:
            await place.turn
        except asyncio.CancelledError:
            if place.turn.cancelled():
                self._withdraw(place)
            elif place.turn.exception() is None:
                place.leave()
            raise
        return place

    def check(self, terms: Terms) -> None:
        """Raises what a newcomer would be refused with that cannot push anybody out."""
        if self._closed:
            raise _end(firm=False)
        if self.waiting >= self._max_waiting and self._waiting[terms.id] + 1 >= max(self._waiting.values()):
            raise self._refusal(terms.id, 1)

    def close(self) -> None:
        """Send everybody away who waits, and whoever still comes."""
        self._closed = True
        for flow in list(self._flows()):
            for place in list(flow.waiting):
                self._refuse(place, _end(place.firm))

    def _append(self, terms: Terms, tokens: int, priority: int, firm: bool) -> Place:
        peers = self._classes.setdefault(priority, _Class())
        flow = peers.flows.setdefault(terms.id, _Flow(terms.id, priority, peers))
        if not flow.waiting:
            flow.time = max(flow.time, peers.time)
        place = Place(self, flow, terms, tokens, next(self._numbers), firm=firm)
        flow.waiting.append(place)
        peers.places += 1
        self._waiting[terms.id] += 1
        return place

    def _dispatch(self) -> None:
        while self._max_running is None or self.running < self._max_running:
            flow = min(filter(self._may_run, self._flows()), key=lambda flow: flow.rank, default=None)
            if flow is None:
                return
            place = flow.waiting.popleft()
            flow.peers.time = max(flow.peers.time, flow.time)
            flow.time += place.tokens
            _take_one(self._waiting, flow.key)
            self._running[flow.key] += 1
            place.turn.set_result(None)

    def _flows(self) -> Iterator[_Flow]:
        return (flow for peers in self._classes.values() for flow in peers.flows.values() if flow.waiting)

    def _may_run(self, flow: _Flow) -> bool:
        most = flow.waiting[0].terms.max_running
        return most is None or self._running[flow.key] < most

    def _push_out(self, newcomer: Place) -> None:
        """The queue is too long by one: the key that holds most of it loses its last place, or nobody gets in."""
        key, most = self._waiting.most_common(1)[0]
        victim = newcomer
        if most > self._waiting[newcomer.flow.key]:
            held = [place for flow in self._flows() if flow.key == key for place in flow.waiting if not place.firm]
            victim = max(held, key=lambda place: (place.flow.priority, place.number), default=newcomer)
        self._refuse(victim, self._refusal(victim.flow.key, 0))

    def _refusal(self, key: str, more: int) -> RateLimited | Refused:
        """429 for a key that holds more than its share of the queue, 503 where it is everybody's queue that is full."""
        keys = len(self._waiting.keys() | {key})
        if (self._waiting[key] + more) * keys > self.waiting + more:
            message = "this API key has too many requests waiting while others wait too"
            return RateLimited(message, "requests", _RETRY_SECONDS, "share_of_queue")
        return Refused(f"{self._max_waiting} requests are waiting already", "queue_full")

    def _refuse(self, place: Place, error: Exception) -> None:
        self._withdraw(place)
        place.turn.set_exception(error)

    def _withdraw(self, place: Place) -> None:
        place.flow.waiting.remove(place)
        _take_one(self._waiting, place.flow.key)
        self._gone(place)

    def _left(self, place: Place) -> None:
        _take_one(self._running, place.flow.key)
        self._gone(place)
        self._dispatch()

    def _gone(self, place: Place) -> None:
        place.flow.peers.places -= 1
        if not place.flow.peers.places:
            del self._classes[place.flow.priority]


def _end(firm: bool) -> LongThinkError:
    """What was accepted goes on elsewhere."""
    message = "the server is shutting down"
    return HandOver(message) if firm else Refused(message, "draining")


def _take_one(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
