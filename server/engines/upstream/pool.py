"""The hosts of one entry of the settings, and who gets which call. Rule: a lease is always given back.

The host that has seen the longest beginning of a prompt gets its call, unless it is clearly busier than the least busy
one; a prompt that nobody knows goes to the least busy.
"""

from __future__ import annotations

import asyncio
import time
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from decoders.core.errors import InvalidRequest
from server.engines.upstream.affinity import beginnings, rank
from server.engines.upstream.body import Call, check
from server.engines.upstream.failures import Setback
from server.engines.upstream.host import Host

_LEEWAY = 8
"""Calls that the host with the prefix may have in progress beyond one and a half times those of the least busy."""


@dataclass
class _Waiter:
    """A call that waits for a place; `order` is its priority and its turn."""

    call: Call
    tried: frozenset[str]
    sums: Sequence[int]
    order: tuple[int, int]
    place: asyncio.Future[Host] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Pool:
    """Hosts shared by the engines of all models."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.hosts = hosts
        self._waiting: list[_Waiter] = []
        self._turns = count()

    def serving(self, model: str) -> list[Host]:
        """The hosts that may get calls of a model."""
        return [host for host in self.hosts if host.available and model in (host.models or ())]

    def well(self, model: str) -> bool:
        """Whether a host of a model answers, be it busy or not."""
        return any(host.well and model in (host.models or ()) for host in self.hosts)

    def drain(self, url: str) -> None:
        """Give a host no further calls; those in progress go on. Raises `KeyError` for an unknown URL."""
        self._host(url).drained = True
        self.serve()

    def readmit(self, url: str) -> None:
        """Give a drained host calls again."""
        self._host(url).drained = False
        self.serve()

    async def acquire(self, call: Call, tried: frozenset[str] = frozenset()) -> Host:
        """A host with a place for the call, another than those `tried` if there is one; give it back with `release`.

        Raises `Setback` when no host takes calls now, `InvalidRequest` when none can do what this one asks.
        """
        sums = beginnings(call.prompt) if len(self.hosts) > 1 else ()
        waiter = _Waiter(call, tried, sums, (call.sampling.priority, next(self._turns)))
        if (host := self._pick(waiter)) is None:
            insort(self._waiting, waiter, key=lambda w: w.order)
            try:
                host = await waiter.place
            except asyncio.CancelledError:
                if waiter.place.done() and not waiter.place.cancelled() and waiter.place.exception() is None:
                    self.release(waiter.place.result())
                raise
            finally:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
        return host

    def release(self, host: Host) -> None:
        """The call has ended."""
        host.in_flight -= 1
        self.serve()

    def serve(self) -> None:
        """Hand out the places there are, in the order of the queue."""
        for waiter in list(self._waiting):
            if waiter.place.done():
                continue
            try:
                host = self._pick(waiter)
            except (Setback, InvalidRequest) as error:
                waiter.place.set_exception(error)
            else:
                if host is not None:
                    waiter.place.set_result(host)

    def _pick(self, waiter: _Waiter) -> Host | None:
        """The best host with a place, which is taken; None while all are full."""
        hosts = self._able(waiter.call)
        hosts = [host for host in hosts if host.url not in waiter.tried] or hosts
        hosts = [host for host in hosts if host.in_flight < host.limit]
        if not hosts:
            return None
        chosen = hosts[0] if len(hosts) == 1 else _choose(hosts, waiter.sums)
        chosen.in_flight += 1
        chosen.prefixes.learn(waiter.sums)
        return chosen

    def _able(self, call: Call) -> list[Host]:
        hosts = self.serving(call.model)
        if not hosts:
            raise Setback("no upstream takes calls now", wait=self._pause(call.model), fault=False)
        able, refusal = [], None
        for host in hosts:
            try:
                check(call, host.known)
            except InvalidRequest as error:
                refusal = error
            else:
                able.append(host)
        if not able and refusal is not None:
            raise refusal
        return able

    def _pause(self, model: str) -> float | None:
        """Seconds until a host may be called again that asked for a pause; None where that is not the reason."""
        now = time.monotonic()
        pauses = [h.busy_until - now for h in self.hosts if h.busy_until > now and model in (h.models or ())]
        return min(pauses, default=None)

    def states(self) -> str:
        """All hosts and how they fare, for the operator."""
        return ", ".join(f"{host.url} {host.state}" for host in self.hosts)

    def _host(self, url: str) -> Host:
        return {host.url: host for host in self.hosts}[url.rstrip("/")]


def _choose(hosts: Sequence[Host], sums: Sequence[int]) -> Host:
    least = min(host.in_flight for host in hosts)
    known = {host.url: host.prefixes.known(sums) for host in hosts if host.in_flight <= 1.5 * least + _LEEWAY}
    longest = max(known.values())
    if longest:
        best = [host for host in hosts if known.get(host.url) == longest]
        least = min(host.in_flight for host in best)
    else:
        best = list(hosts)
    return max((host for host in best if host.in_flight == least), key=lambda host: rank(host.url, sums))
