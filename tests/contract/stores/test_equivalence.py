"""Any sequence of calls has the same outcome in every store as in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from server.store.base import Lease, LeaseLost, Limit, Store, Stored
from tests.contract.stores.conftest import Open

IDS = ("a", "b", "c")
LIMITS = (Limit("x", 10, 86_400), Limit("y", 25, 86_400))
ids, data = st.sampled_from(IDS), st.binary(max_size=8)
logs = st.lists(data, max_size=3)
amounts = st.lists(st.tuples(st.sampled_from(LIMITS), st.integers(0, 8)), min_size=1, max_size=3)


def machine(shared: Open) -> type[RuleBasedStateMachine]:
    class Stores(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.loop = asyncio.new_event_loop()
            # a prefix or file of its own for each example would be slow: whatever an example leaves is deleted
            self.stores: tuple[Store, Store] = (Open("memory")(), shared())
            self.leases: list[Lease] = []

        def both(self, ask: Callable[[Store], Awaitable[Any]]) -> Any:
            async def outcome(store: Store) -> Any:
                try:
                    return await ask(store)
                except LeaseLost:
                    return LeaseLost

            expected, found = (self.loop.run_until_complete(outcome(store)) for store in self.stores)
            assert found == expected
            return expected

        @rule(id=ids, body=data, context=logs)
        def put(self, id: str, body: bytes, context: list[bytes]) -> None:
            self.both(lambda store: store.put(Stored(id, body, context=tuple(context), done=True)))

        @rule(id=ids, body=data)
        def create(self, id: str, body: bytes) -> None:
            lease = self.both(lambda store: store.create(Stored(id, body), "me"))
            self.leases += [lease] if lease is not LeaseLost else []

        @precondition(lambda self: self.leases)
        @rule(choice=st.data(), body=data, entries=logs, kind=st.sampled_from(["update", "append", "record", "finish"]))
        def write(self, choice: st.DataObject, body: bytes, entries: list[bytes], kind: str) -> None:
            lease = choice.draw(st.sampled_from(self.leases))
            given = {"update": (body,), "finish": (body, entries)}.get(kind, (entries,))
            self.both(lambda store: getattr(store, kind)(lease, *given))

        @precondition(lambda self: self.leases)
        @rule(choice=st.data())
        def release(self, choice: st.DataObject) -> None:
            lease = choice.draw(st.sampled_from(self.leases))
            self.both(lambda store: store.release(lease))

        @rule(holder=st.sampled_from(["me", "you"]), most=st.integers(1, 3))
        def claim(self, holder: str, most: int) -> None:
            self.leases += self.both(lambda store: store.claim(holder, most))

        @rule(id=ids)
        def cancel(self, id: str) -> None:
            self.both(lambda store: store.cancel(id))

        @rule(id=ids)
        def delete(self, id: str) -> None:
            self.both(lambda store: store.delete(id))

        @rule()
        def renew(self) -> None:
            newest = list({lease.id: lease for lease in self.leases}.values())
            self.both(lambda store: store.renew("me", newest))

        @rule(id=ids, after=st.integers(-1, 4))
        def look(self, id: str, after: int) -> None:
            found = self.both(lambda store: store.get(id))
            self.both(lambda store: store.steps(id))
            log = self.both(lambda store: store.entries(id))
            if found is None or found.done:

                async def read(store: Store) -> list[bytes]:
                    return [entry async for entries in store.follow(id, after) for entry in entries]

                assert self.both(read) == log[after + 1 :]

        @rule(key=ids, value=data, new=st.booleans())
        def keep(self, key: str, value: bytes, new: bool) -> None:
            self.both(lambda store: store.keep(key, value, 60, new=new))
            self.both(lambda store: store.value(key))

        @rule(key=ids)
        def forget(self, key: str) -> None:
            self.both(lambda store: store.forget(key))
            self.both(lambda store: store.value(key))

        @rule(wanted=amounts, back=amounts)
        def count(self, wanted: list[tuple[Limit, int]], back: list[tuple[Limit, int]]) -> None:
            async def ask(store: Store) -> Any:
                taken = await store.take(wanted)
                await store.give_back(back, taken.time)
                return taken.granted, taken.left, (await store.take([(limit, 0) for limit in LIMITS])).left

            self.both(ask)

        def teardown(self) -> None:
            for id in IDS:
                self.both(lambda store, id=id: store.get(id))  # type: ignore[misc]
                self.both(lambda store, id=id: store.entries(id))  # type: ignore[misc]
                self.both(lambda store, id=id: store.delete(id))  # type: ignore[misc]
                self.both(lambda store, id=id: store.forget(id))  # type: ignore[misc]
            self.loop.run_until_complete(self._clear())
            self.loop.close()

        async def _clear(self) -> None:
            now = (await self.stores[1].take([])).time
            await self.stores[1].give_back([(limit, 10**6) for limit in LIMITS], now)
            for store in self.stores:
                await store.aclose()

    return Stores


def test_every_store_does_what_memory_does(shared: Open) -> None:
    checks = [HealthCheck.too_slow]
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine(shared),
        settings=settings(max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=checks),
    )


@pytest.mark.parametrize("id", ["a:b", "ä/..", "x" * 300, "a b\n"])
def test_ids_and_keys_are_only_names(opened: Open, id: str) -> None:
    async def work() -> None:
        store = opened()
        try:
            await store.put(Stored(id, b"1", done=True))
            await store.keep(id, b"2", 60)
            assert (await store.take([(Limit(id, 1, 60), 1)])).granted
            found = await store.get(id)
            assert found is not None
            assert (found.id, found.body, await store.value(id)) == (id, b"1", b"2")
        finally:
            await store.aclose()

    asyncio.run(work())
