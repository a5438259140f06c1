"""Runs that no client waits for, and that outlive the replica they run on.

Rule: what a replica does for a run it does under a lease. A run whose lease lapses, because its replica died or hangs,
or that is handed over, because its replica is told to stop, is taken up by another one: finished steps are replayed
from the store, what was shown is not shown again, and the rest is generated.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Mapping
from contextlib import aclosing, suppress

import orjson
from prometheus_client import CollectorRegistry

from decoders.core.errors import LongThinkError
from server.connections import Connections, Refused
from server.context import on_behalf_of, origin, pass_on
from server.metrics import RunMetrics
from server.recording import Recording
from server.report import Cancelled, Entry, Facts
from server.store.base import Lease, LeaseLost, Store, Stored, StoreUnavailable
from server.telemetry import Tracing
from server.webhooks import PATH, Delivery, Webhooks
from server.worker import Begin, History, Opener, Work, Worker

_PATIENCE = 2.0
"""Seconds that runs get to leave things in order when the server ends."""
_TAKEOVERS = 32
"""A run that has had so many holders is given up: it may be what kills them."""

log = logging.getLogger("longthink")


class Background:
    """The runs that this replica holds, by id. `holder` is its name in leases: no other replica has it."""

    def __init__(
        self,
        store: Store,
        connections: Connections,
        begin: Begin,
        holder: str,
        webhooks: Webhooks | None = None,
        metrics: RunMetrics | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.openers: dict[str, Opener] = {}
        self._store, self._connections, self._begin, self._holder = store, connections, begin, holder
        self._webhooks = webhooks
        self._running: dict[str, tuple[Lease, Worker | Delivery, asyncio.Task[None]]] = {}
        self._tracing = tracing
        self._metrics = metrics or RunMetrics(CollectorRegistry())
        self._metrics.running.set_function(self._count)

    def open(self, stored: Stored) -> Work:
        """A stored run as its API understands it."""
        return self.openers[orjson.loads(stored.order)["path"]](stored)

    def worker(self, work: Work, history: History | None = None) -> Worker:
        """Ready to begin. Raises `InvalidRequest` naming the field, `Refused` when there is no room."""
        connections = self._connections
        connected = connections.enter(None)
        worker = Worker(self._store, connected, self._begin, work, history or History(), lambda: connections.draining)
        if self._webhooks is not None and self._webhooks.wanted(work.webhook):
            worker.announce = self._announce
        return worker

    def check_webhook(self, url: str) -> None:
        """Raises `InvalidRequest` for a webhook that a request may not name."""
        if self._webhooks is not None:
            self._webhooks.check(url)

    async def start(self, stored: Stored, worker: Worker) -> None:
        """Keep a run and let it go on by itself."""
        self._go(await self._store.create(stored, self._holder), worker)
        await asyncio.sleep(0)  # only what has entered can be ended

    async def cancel(self, id: str) -> None:
        """Ask whoever has the run to end it, and wait until it is done."""
        await self._store.cancel(id)
        self._end({id}, Cancelled("the run was cancelled"))
        async with aclosing(self._store.follow(id, -1)) as entries:
            async for _ in entries:
                pass

    async def run(self) -> None:
        """Renew the leases and take over what others have left, until cancelled."""
        while True:
            try:
                await self._renew()
                if not self._connections.draining:
                    for lease in await self._store.claim(self._holder, self._connections.room):
                        await self._take_over(lease)
                await self._store.changed(self._store.lease_seconds / 3)
            except StoreUnavailable as error:
                log.warning("the store cannot be reached: runs go on until their next step is finished: %s", error)
                await asyncio.sleep(self._store.lease_seconds / 10)

    async def aclose(self) -> None:
        """Leave all runs: where the store outlives this process, others go on with them."""
        self._end(set(self._running), Refused("the server is shutting down"))
        tasks = [task for _, _, task in self._running.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=_PATIENCE)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _renew(self) -> None:
        renewal = await self._store.renew(self._holder, [lease for lease, _, _ in self._running.values()])
        self._end(renewal.cancelled, Cancelled("the run was cancelled"))
        self._end(renewal.lost, LeaseLost("another replica has the run, or it was deleted"))

    def _end(self, ids: set[str] | frozenset[str], reason: LongThinkError) -> None:
        for id in ids & self._running.keys():
            self._running[id][1].connected.end(reason)

    async def _take_over(self, lease: Lease) -> None:
        stored = await self._store.get(lease.id)
        if stored is None:
            return
        if stored.id.startswith(PATH):
            await self._deliver(lease, orjson.loads(stored.order)["run"])
            return
        try:
            if lease.number > _TAKEOVERS:
                raise LongThinkError(f"given up after {_TAKEOVERS} replicas")
            history = await History.read(self._store, lease.id)
            worker = self.worker(self.open(stored), history)
        except Refused:
            await self._store.release(lease)
        except StoreUnavailable:
            raise
        except Exception as error:
            await self._give_up(lease, stored, error)
        else:
            steps = sum(map(len, history.steps.values()))
            log.info("run %s taken over with %d steps", lease.id, steps)
            self._metrics.took_over(steps)
            self._go(lease, worker, orjson.loads(stored.order).get("trace", {}), steps)

    async def _give_up(self, lease: Lease, stored: Stored, error: Exception) -> None:
        """End a run that cannot be taken up here, as every replica would find."""
        log.error("run %s cannot be taken up", lease.id, exc_info=error)
        told = {"status": 500, "message": f"the run cannot be taken up: {error}", "type": "server_error"}
        told |= {"param": None, "code": "run_lost"}
        writer = self.open(stored).writer(Recording(self._store.follow(stored.id, -1), 1))
        writer.begin(0)
        writer.failure(error)
        await self._store.finish(lease, writer.body(), [Entry(facts=Facts(error=told)).dump()])

    async def _announce(self, id: str) -> None:
        """A run is about to be done: its delivery is kept before, so that it is not forgotten with this replica."""
        with suppress(LeaseLost):  # it is kept already, by whoever had the run before
            await self._deliver(await self._store.create(Delivery.stored(id), self._holder), id)

    async def _deliver(self, lease: Lease, run: str) -> None:
        try:
            connected = self._connections.enter(None)
        except Refused:
            await self._store.release(lease)
        else:
            if self._webhooks is not None:
                self._go(lease, Delivery(self._store, self._webhooks, connected, run))

    def _go(
        self, lease: Lease, work: Worker | Delivery, trace: Mapping[str, str] | None = None, steps: int = 0
    ) -> None:
        """Begin work; where it goes on, `trace` and `steps` are what it has behind it."""
        task = asyncio.create_task(self._work(lease, work, trace or {}, steps), name=f"run {lease.id}")
        self._running[lease.id] = (lease, work, task)
        task.add_done_callback(self._gone)

    async def _work(self, lease: Lease, work: Worker | Delivery, trace: Mapping[str, str], steps: int) -> None:
        with on_behalf_of(dataclasses.replace(origin(), run=lease.id, tokens=0)):
            if trace:
                pass_on(trace)
            if self._tracing is None:
                await work.work(lease)
            else:
                with self._tracing.run(lease.id, trace, lease.number, steps):
                    await work.work(lease)

    def _count(self) -> float:
        return sum(isinstance(work, Worker) for _, work, _ in self._running.values())

    def _gone(self, task: asyncio.Task[None]) -> None:
        id = task.get_name().removeprefix("run ")
        _, work, present = self._running[id]
        if present is task:
            del self._running[id]
        if isinstance(work, Worker) and isinstance(work.left, LeaseLost):
            self._metrics.lease_lost.inc()
        if not task.cancelled() and (error := task.exception()):
            log.error("the work on %s broke off: it goes on when its lease has lapsed", id, exc_info=error)
