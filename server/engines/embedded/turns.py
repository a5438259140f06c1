"""Who waits, and whose turn it is. A step computes with one tenant's weights, so tenants take turns.

While it is a tenant's turn all of its sequences run side by side, and those of others wait. Turns go round: a tenant
that has nothing left passes its turn on at once, one that has more after `most` steps, if somebody else waits. So of n
tenants at work nobody waits for more than (n - 1) · `most` steps, however much the others ask for.
Rule: where nobody waits, a turn costs nothing and never ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from server.engines.embedded.sequence import Sequence


class Turns:
    """Queues by tenant, the next one first; `tenant` is the one whose turn it is, empty for the base."""

    def __init__(self, most: int = 64) -> None:
        self.tenant = ""
        self._most = self._left = most
        self._queues: dict[str, deque[Sequence]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def __iter__(self) -> Iterator[Sequence]:
        return (sequence for queue in self._queues.values() for sequence in queue)

    def extend(self, sequences: Iterable[Sequence]) -> None:
        """Let them wait behind those of their tenants."""
        for sequence in sequences:
            self._queues.setdefault(sequence.tenant, deque()).append(sequence)

    def put_back(self, sequences: Iterable[Sequence]) -> None:
        """Let sequences, which all are one tenant's, wait in front of its others, in this order."""
        for sequence in reversed(list(sequences)):
            self._queues.setdefault(sequence.tenant, deque()).appendleft(sequence)

    def next(self) -> Sequence | None:
        """The next one of whose turn it is, if there is one."""
        queue = self._queues.get(self.tenant)
        return queue.popleft() if queue else None

    def drop(self) -> None:
        """Forget those that are cancelled."""
        for tenant, queue in list(self._queues.items()):
            self._queues[tenant] = deque(sequence for sequence in queue if not sequence.cancelled)

    def clear(self) -> None:
        """Forget all."""
        self._queues.clear()

    def spend(self) -> None:
        """A step has been computed."""
        self._left -= 1

    def over(self, *, busy: bool) -> bool:
        """Whether somebody else should have the turn; `busy` says that its holder has sequences at work."""
        others = any(queue for tenant, queue in self._queues.items() if tenant != self.tenant)
        return others and (self._left <= 0 or not (busy or self._queues.get(self.tenant)))

    def pass_on(self) -> None:
        """Give the turn to the tenant whose last one is the longest ago; nothing of the holder's may be at work."""
        held = self._queues.pop(self.tenant, None)
        if held:
            self._queues[self.tenant] = held
        self._queues = {tenant: queue for tenant, queue in self._queues.items() if queue}
        self.tenant = next((tenant for tenant in self._queues if tenant != self.tenant), self.tenant)
        self._left = self._most


class Together(Turns):
    """One queue for all: where rows of several tenants can be computed in one call nobody needs a turn."""

    def extend(self, sequences: Iterable[Sequence]) -> None:
        """Let them wait behind all others."""
        self._queues.setdefault("", deque()).extend(sequences)

    def put_back(self, sequences: Iterable[Sequence]) -> None:
        """Let them wait in front of all others."""
        self._queues.setdefault("", deque()).extendleft(reversed(list(sequences)))

    def over(self, *, busy: bool) -> bool:
        """Never."""
        return False


class Arrivals(Together):
    """Strictly in order of arrival: what it costs not to have turns, for measurements."""

    def next(self) -> Sequence | None:
        """The first, if it belongs to whose turn it is."""
        queue = self._queues.get("")
        return queue.popleft() if queue and queue[0].tenant == self.tenant else None

    def over(self, *, busy: bool) -> bool:
        """Whether the first is another's, and nothing is at work."""
        queue = self._queues.get("")
        return not busy and queue is not None and len(queue) > 0 and queue[0].tenant != self.tenant

    def pass_on(self) -> None:
        """Give the turn to whoever is first."""
        self.tenant = self._queues[""][0].tenant if self._queues.get("") else self.tenant
