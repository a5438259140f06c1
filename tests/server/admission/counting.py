"""Counters for tests: windows in memory, in a store that can be out of reach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from server.store.base import Limit, StoreUnavailable, Taken
from server.store.memory import MemoryStore


class CountingStore(MemoryStore):
    """Counts exactly; `now` stands still, far from the end of a window."""

    def __init__(self) -> None:
        super().__init__(limit=100, seconds=100, max_bytes=10**8)
        self.now = 86_400.0 * 20_000 + 7 * 60
        self.used = Counter[tuple[str, int]]()
        self.away = False
        self.asked = 0

    async def take(self, wanted: Sequence[tuple[Limit, int]]) -> Taken:
        self._reach()
        slots = [self._slot(limit, self.now) for limit, _ in wanted]
        granted = all(
            self.used[slot] + amount <= limit.most for slot, (limit, amount) in zip(slots, wanted, strict=True)
        )
        if granted:
            self.used.update(dict(zip(slots, (amount for _, amount in wanted), strict=True)))
        left = tuple(limit.most - self.used[slot] for slot, (limit, _) in zip(slots, wanted, strict=True))
        resets = tuple(limit.seconds - self.now % limit.seconds for limit, _ in wanted)
        return Taken(granted, left, resets, self.now)

    async def give_back(self, wanted: Sequence[tuple[Limit, int]], time: float) -> None:
        self._reach()
        for limit, amount in wanted:
            self.used[self._slot(limit, time)] -= amount

    def tokens(self, id: str, window: str = "day") -> int:
        """Tokens of a key that are taken."""
        return sum(used for (key, _), used in self.used.items() if key == f"tokens/{window}/{id}")

    def _slot(self, limit: Limit, time: float) -> tuple[str, int]:
        return limit.key, int(time // limit.seconds)

    def _reach(self) -> None:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("the cable is out")
