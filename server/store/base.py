"""What keeps runs and responses, small values and counters, for one process, one machine or many replicas.

Rule: a run is written by the holder of its lease and by nobody else. Whoever takes a run over gets a lease with a
higher number, and what an older holder still writes is refused, however late it comes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from decoders.core.errors import LongThinkError


class StoreUnavailable(LongThinkError):
    """The store cannot be reached now; nothing is known of what was asked."""


class LeaseLost(LongThinkError):
    """Somebody else holds the run now, or it has been deleted: nothing was written."""


class Purged(LongThinkError):
    """What this belongs to was purged: nothing was kept."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A response as it is kept, everything in it as JSON.

    `input` are the items that were asked, `context` those of the conversation before. Once it is `done` nothing changes
    any more. `owner` is the id of the API key that may see it, empty where there are no keys.
    """

    id: str
    body: bytes
    input: tuple[bytes, ...] = ()
    context: tuple[bytes, ...] = ()
    background: bool = False
    done: bool = False
    owner: str = ""
    order: bytes = b""
    """What any replica needs to work on it; empty for responses that are never resumed."""
    labels: tuple[str, ...] = ()
    """Whose it is besides, such as tenants whose models had a part in it: see `Store.purge`."""

    @property
    def size(self) -> int:
        """Bytes that it takes at most: items of the context may be shared with the responses before."""
        return len(self.body) + len(self.order) + sum(map(len, self.input)) + sum(map(len, self.context))


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write one run. `number` counts its holders."""

    id: str
    holder: str
    number: int


@dataclass(frozen=True, slots=True)
class Renewal:
    """What has become of leases that should live on: ids of runs that are `lost`, and of those to be `cancelled`."""

    lost: frozenset[str] = frozenset()
    cancelled: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so many of something in each window of `seconds`; windows of all replicas begin at the same time."""

    key: str
    most: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of asking for amounts under limits: all of them or nothing.

    For each limit `left` says what may still be taken, `resets` in how many seconds its next window begins. `time` is
    the store's clock, in seconds since the epoch.
    """

    granted: bool
    left: tuple[int, ...]
    resets: tuple[float, ...]
    time: float


class Runs(Protocol):
    """Keeps responses, and the work of those that go on without a client; it may forget those that are done.

    A run has two logs. Its *steps* are what a replica that takes it over is given to replay. Its *entries* are what
    its readers are told, numbered from 0. All writing with a lease raises `LeaseLost` when it is no longer valid: when
    the run was claimed by somebody, released, finished or deleted. That a lease has lapsed does not end it.
    """

    durable: bool
    """Whether what is kept outlives this process, so that others can go on with it."""

    async def put(self, response: Stored) -> None:
        """Keep a response that is done when it is kept: no lease, no logs. It replaces any other of this id.

        `Purged` where nothing of its labels is kept any more.
        """
        ...

    async def create(self, response: Stored, holder: str) -> Lease:
        """Keep a new run; nobody is told of it before this has returned.

        `LeaseLost` where the id is taken, `Purged` where nothing of its labels is kept any more.
        """
        ...

    async def get(self, id: str) -> Stored | None:
        """The response of this id, if it is still there."""
        ...

    async def ids(self) -> list[str]:
        """Of everything that is kept, done or not, in no order."""
        ...

    async def delete(self, id: str) -> bool:
        """Forget a response with its logs and its lease; whether it was there."""
        ...

    async def update(self, lease: Lease, body: bytes) -> None:
        """What has become of a run that goes on."""
        ...

    async def append(self, lease: Lease, entries: Sequence[bytes], at: int | None = None) -> None:
        """Add entries to the log of a run, the first of them as number `at`.

        Those that are there already are not added again: after a `StoreUnavailable` nobody knows, and may try again.
        """
        ...

    async def record(self, lease: Lease, steps: Sequence[bytes]) -> None:
        """Add finished steps; what this has returned for survives."""
        ...

    async def finish(self, lease: Lease, body: bytes, entries: Sequence[bytes]) -> None:
        """The last entries and the last body, in one; the run is done, its lease gone, its age begins."""
        ...

    async def steps(self, id: str) -> list[bytes]:
        """All recorded steps of a run, in order."""
        ...

    async def entries(self, id: str) -> list[bytes]:
        """The log of a run as far as it has come."""
        ...

    def follow(self, id: str, after: int) -> AsyncGenerator[Sequence[bytes], None]:
        """The entries numbered above `after`, then further ones as they come, until the run is done or deleted.

        An outage of the store is waited for; `StoreUnavailable` comes only when it lasts.
        """
        ...

    async def renew(self, holder: str, leases: Sequence[Lease]) -> Renewal:
        """Let leases live for another `lease_seconds`; one that has lapsed and that nobody has claimed lives again."""
        ...

    async def claim(self, holder: str, most: int) -> list[Lease]:
        """Take over at most so many runs whose leases have lapsed or were released, first who waits longest."""
        ...

    async def release(self, lease: Lease) -> None:
        """Give a run to whoever claims it next: the lease is lost with that; nothing where it was lost before."""
        ...

    async def cancel(self, id: str) -> None:
        """Ask the holder of a run to end it; who claims it later is told too."""
        ...

    async def changed(self, seconds: float) -> None:
        """Return after this time, or as soon as a run was released or should be cancelled, or soon after.

        What happens between two calls ends the second at once. It may return without a reason.
        """
        ...


class Values(Protocol):
    """Small things that are kept for a time."""

    async def value(self, key: str) -> bytes | None:
        """What is kept under a key."""
        ...

    async def keep(
        self, key: str, value: bytes, seconds: float, *, new: bool = False, labels: Sequence[str] = ()
    ) -> bool:
        """Keep a value; with `new` only where there is none, and the answer says whether it was kept. `Purged`."""
        ...

    async def forget(self, key: str) -> None:
        """Forget a value."""
        ...


PURGED_SECONDS = 30 * 86_400.0
"""How long a store remembers what it must not keep; no run lives that long."""


class Counters(Protocol):
    """Counts what is taken, exactly, over all replicas."""

    async def take(self, wanted: Sequence[tuple[Limit, int]]) -> Taken:
        """Take an amount under each limit, or none at all where one of them does not allow it."""
        ...

    async def give_back(self, wanted: Sequence[tuple[Limit, int]], time: float) -> None:
        """Return amounts taken at `time` (as `Taken.time`) to their windows; negative ones take more, past any limit.

        Amounts of windows that are over change nothing.
        """
        ...


class Store(Runs, Values, Counters, Protocol):
    """All of it. `StoreUnavailable` may come out of every method; the store heals by itself when it can be reached."""

    lease_seconds: float
    """How long a lease lives without being renewed."""

    async def purge(self, label: str) -> int:
        """Forget every response and value with this label, and keep none from now on; how many there were.

        Runs that go on lose their leases. A label is never used again: `Purged` tells whoever was late, for a month.
        """
        ...

    async def ready(self) -> bool:
        """Whether the store can be reached."""
        ...

    async def aclose(self) -> None:
        """Let go of files and connections; leases stay."""
        ...
