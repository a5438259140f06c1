"""The hosts behind all upstream engines, for operators. Rule: whatever has a pool is asked; no engine is imported.

A server that several entries of the settings name is one host here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from decoders.core.errors import InvalidRequest
from decoders.core.task import Model

if TYPE_CHECKING:
    from server.engines.upstream.host import Host
    from server.engines.upstream.pool import Pool


@runtime_checkable
class _Pooled(Protocol):
    """An engine over hosts."""

    pool: Pool


@dataclass(frozen=True, slots=True)
class Upstream:
    """One host as it is now; counts are since the start. `limit` is how many calls it may have in progress."""

    url: str
    state: str
    healthy: bool
    drained: bool
    in_flight: int
    limit: int
    models: tuple[str, ...]
    retries: int
    outcomes: Mapping[str, int]


class Upstreams:
    """The pools of the served models."""

    def __init__(self, models: Iterable[Model]) -> None:
        pools = [model.engine.pool for model in models if isinstance(model.engine, _Pooled)]
        self._pools = list(dict.fromkeys(pools))

    def all(self) -> Sequence[Upstream]:
        """Every host, in the order of the settings."""
        hosts: dict[str, list[Host]] = {}
        for pool in self._pools:
            for host in pool.hosts:
                hosts.setdefault(host.url, []).append(host)
        return [_together(same) for same in hosts.values()]

    def drain(self, url: str, *, drained: bool) -> None:
        """Give a host no further calls, or give it calls again. Raises `InvalidRequest` for an unknown URL."""
        url = url.rstrip("/")
        pools = [pool for pool in self._pools if any(host.url == url for host in pool.hosts)]
        if not pools:
            known = ", ".join(host.url for host in self.all()) or "none"
            raise InvalidRequest(f"there is no such upstream: there is {known}", param="url", code="upstream_not_found")
        for pool in pools:
            pool.drain(url) if drained else pool.readmit(url)


def _together(hosts: Sequence[Host]) -> Upstream:
    """What several entries know of one server, as one: its calls add up, and it is well where all find it well."""
    first = hosts[0]
    return Upstream(
        url=first.url,
        state=next((host.state for host in hosts if not host.well), first.state),
        healthy=all(host.well for host in hosts),
        drained=all(host.drained for host in hosts),
        in_flight=sum(host.in_flight for host in hosts),
        limit=sum(host.limit for host in hosts),
        models=tuple(dict.fromkeys(model for host in hosts for model in host.models or ())),
        retries=sum(host.retries for host in hosts),
        outcomes={outcome: sum(host.outcomes[outcome] for host in hosts) for outcome in first.outcomes},
    )
