"""What a request needs before its decoders run: its claim under the limits of its key, and its turn.

Rule: a claim is settled exactly once, by whoever ends the work. A run that outlives its replica is claimed when it is
made; the claim is kept with it, so that a replica which takes it over claims nothing and settles for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from server.admission.caller import Caller
from server.admission.limits import Limits
from server.admission.queue import Place, Queue
from server.connections import Refused


class Permit:
    """Of one request for `tokens`. With `lasting` it belongs to a run: whoever ends that calls `settle`."""

    def __init__(
        self,
        limits: Limits,
        queue: Queue,
        caller: Caller,
        tokens: int,
        *,
        priority: int = 0,
        deadline: float | None = None,
        lasting: bool = False,
    ) -> None:
        self.caller = caller
        self._limits, self._queue, self._tokens, self._priority = limits, queue, tokens, priority
        self._deadline, self._lasting = deadline, lasting

    async def claim(self) -> None:
        """Take request and budget, unless that is done. Raises `RateLimited`, `StoreUnavailable`, or `Refused`."""
        if self._lasting and self.caller.claim.time is None:
            self._queue.check(self.caller.terms)
        if self.caller.terms.counted and self.caller.claim.time is None:
            await self._limits.claim(self.caller, self._tokens)

    async def settle(self, spent: int) -> None:
        """Give back what was claimed and not spent."""
        await self._limits.settle(self.caller, spent)

    @asynccontextmanager
    async def turn(self, spent: Callable[[], int]) -> AsyncGenerator[None, None]:
        """Room to work; `spent` tells afterwards how many tokens it took."""
        if self._lasting:
            place = await self._place()
            try:
                yield
            finally:
                place.leave()
            return
        await self.claim()
        try:
            place = await self._place()
            try:
                yield
            finally:
                place.leave()
        finally:
            await self.settle(spent())

    async def _place(self) -> Place:
        terms = self.caller.terms
        if self._lasting or self._deadline is None:
            return await self._queue.enter(terms, self._tokens, self._priority, firm=self._lasting)
        try:
            async with asyncio.timeout(self._deadline):
                return await self._queue.enter(terms, self._tokens, self._priority)
        except TimeoutError:
            raise Refused("the request's deadline has passed before its turn came", "queue_timeout") from None


class Admission:
    """Gives permits: the limits are those of the store, the queue is this replica's."""

    def __init__(self, limits: Limits, queue: Queue) -> None:
        self.limits, self.queue = limits, queue

    def permit(
        self, caller: Caller, tokens: int, *, priority: int, deadline: float | None = None, lasting: bool = False
    ) -> Permit:
        """For a request that has not begun."""
        return Permit(self.limits, self.queue, caller, tokens, priority=priority, deadline=deadline, lasting=lasting)
