"""Runs that change hands under limits: whoever ends a run settles what was claimed when it was made."""

from __future__ import annotations

import asyncio
import dataclasses

from server.admission.caller import Caller, Terms
from server.admission.limits import Limits
from server.service import Ask
from server.store.base import LeaseLost
from tests.server.admission.counting import CountingStore
from tests.server.test_takeover import ASK, Replica, beating, ended, reached

TERMS = Terms("few", requests_per_minute=1, tokens_per_day=10_000)


def taken_up(caller: Caller) -> Ask:
    """The ask as a replica reads it from the store: with a claim of its own."""
    return dataclasses.replace(ASK, caller=Caller.load(caller.dump()))


def test_a_run_taken_over_is_charged_for_what_it_spent_and_once() -> None:
    async def scenario() -> None:
        store, caller = CountingStore(), Caller(TERMS)
        store.durable = True
        await Limits(store).claim(caller, 10_000)
        first = Replica(store, taken_up(caller), name="first", delay=1e-9)
        second = Replica(store, taken_up(caller), name="second")
        await first.start("run")
        await reached(store, lambda: store.steps("run"), 2)
        await first.die()
        assert store.tokens("few") == 10_000
        store.now += 20
        async with beating(second):
            recording, _ = await asyncio.wait_for(ended(store, "run"), 10)
            async with asyncio.timeout(10):
                while store.tokens("few") == 10_000:  # noqa: ASYNC110
                    await asyncio.sleep(0)
        assert second.engine.calls > 0
        assert store.tokens("few") == recording.facts().spent > 0
        assert sum(used for (key, _), used in store.used.items() if key == "requests/minute/few") == 1

    asyncio.run(scenario())


def test_who_has_lost_a_run_settles_nothing() -> None:
    async def scenario() -> None:
        store, caller = CountingStore(), Caller(TERMS)
        await Limits(store).claim(caller, 10_000)
        replica = Replica(store, taken_up(caller), delay=1e-3)
        await replica.start("run")
        ((_, worker, task),) = replica.background._running.values()
        worker.connected.end(LeaseLost("somebody else has it"))
        await asyncio.gather(task, return_exceptions=True)
        assert store.tokens("few") == 10_000

    asyncio.run(scenario())
