"""The hosts of one entry of the settings with what watches over them. Rule: whoever leaves last closes everything."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from decoders.core.errors import EngineUnavailable
from server.engines.upstream.failures import Setback
from server.engines.upstream.health import discover, watch
from server.engines.upstream.host import Host
from server.engines.upstream.pool import Pool
from server.model_options import UpstreamOptions


class User(Protocol):
    """An engine over these hosts."""

    def refresh(self) -> None:
        """A host has joined or left."""
        ...


class Cluster:
    """Shared by the engines of all models that its hosts have; `wanted` is the only model that counts, if any."""

    def __init__(self, hosts: Sequence[Host], options: UpstreamOptions, wanted: str | None) -> None:
        self.pool = Pool(hosts)
        self._users: list[User] = []
        self._options, self._wanted = options, wanted
        self._watchers: list[asyncio.Task[None]] = []

    @property
    def models(self) -> list[str]:
        """All models that the hosts have, or the wanted one, in the order in which they are listed."""
        if self._wanted is not None:
            return [self._wanted]
        return list(dict.fromkeys(model for host in self.pool.hosts for model in host.models or ()))

    async def start(self) -> None:
        """Ask all hosts what they have and begin to watch them.

        Raises `EngineUnavailable` where nobody answers and no model is named or where a key is refused, `ValueError`
        for a model that nobody has.
        """
        hosts = self.pool.hosts
        await asyncio.gather(*(self._greet(host) for host in hosts))
        answered = [host for host in hosts if host.models is not None]
        if not answered and self._wanted is None:
            raise EngineUnavailable(f"no upstream answers, and no model is named: {self.pool.states()}")
        if len(answered) == len(hosts) and not any(model in (h.models or ()) for h in hosts for model in self.models):
            found = ", ".join(dict.fromkeys(model for host in hosts for model in host.models or ())) or "no model"
            raise ValueError(f"no upstream has a model {self._wanted or ''}: there is {found}")
        self._watchers = [
            asyncio.create_task(watch(host, self._wanted, self._options.health_seconds, self._changed))
            for host in hosts
        ]

    def join(self, user: User) -> None:
        """An engine uses these hosts from now on."""
        self._users.append(user)
        user.refresh()

    async def leave(self, user: User) -> None:
        """An engine has closed."""
        self._users.remove(user)
        if not self._users:
            await self.aclose()

    async def aclose(self) -> None:
        """Stop watching and close all connections."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        for host in self.pool.hosts:
            await host.aclose()

    def _changed(self) -> None:
        for user in self._users:
            user.refresh()
        self.pool.serve()

    async def _greet(self, host: Host) -> None:
        try:
            await discover(host, self._wanted)
        except Setback as setback:
            host.breaker.open(str(setback))
