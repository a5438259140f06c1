"""A store for tests whose time stands still, far from the end of a window, and that can be out of reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from server.store.base import Limit, StoreUnavailable, Taken
from server.store.memory import MemoryStore


class CountingStore(MemoryStore):
    """The memory store; `now` is its time, and while it is `away` nothing can be counted."""

    def __init__(self) -> None:
        self.now = 86_400.0 * 20_000 + 7 * 60
        super().__init__(limit=100, seconds=100, max_bytes=10**8, clock=lambda: self.now)
        self.away = False

    async def take(self, wanted: Sequence[tuple[Limit, int]]) -> Taken:
        self._reach()
        return await super().take(wanted)

    async def give_back(self, wanted: Sequence[tuple[Limit, int]], time: float) -> None:
        self._reach()
        await super().give_back(wanted, time)

    @property
    def used(self) -> Mapping[tuple[str, int], int]:
        """What is taken, by limit and window."""
        return {(key, window): used for (key, _, window), used in self._used.items()}

    def tokens(self, id: str, window: str = "day") -> int:
        """Tokens of a key that are taken."""
        return sum(used for (key, _), used in self.used.items() if key == f"tokens/{window}/{id}")

    def _reach(self) -> None:
        if self.away:
            raise StoreUnavailable("the cable is out")
