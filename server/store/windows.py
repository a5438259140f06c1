"""Windows of time in which things are counted. Rule: they begin at multiples of their length since the epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import MutableMapping, Sequence

from server.store.base import Limit, Taken

Slot = tuple[str, int, int]
"""Key of a limit, its seconds, and which window since the epoch: what an amount is counted under."""


def slot(limit: Limit, time: float) -> Slot:
    """Where a limit counts at this time."""
    return limit.key, limit.seconds, int(time // limit.seconds)


def take(wanted: Sequence[tuple[Limit, int]], used: MutableMapping[Slot, int], time: float) -> Taken:
    """Add the wanted amounts to what is used, where all limits allow it."""
    amounts: Counter[Slot] = Counter()
    for limit, amount in wanted:
        amounts[slot(limit, time)] += amount
    slots = [(limit, slot(limit, time)) for limit, _ in wanted]
    granted = all(used.get(at, 0) + amounts[at] <= limit.most for limit, at in slots)
    if granted:
        for at, amount in amounts.items():
            used[at] = used.get(at, 0) + amount
    return Taken(
        granted=granted,
        left=tuple(max(0, limit.most - used.get(at, 0)) for limit, at in slots),
        resets=tuple((at[2] + 1) * limit.seconds - time for limit, at in slots),
        time=time,
    )


def give_back(wanted: Sequence[tuple[Limit, int]], used: MutableMapping[Slot, int], time: float, now: float) -> None:
    """Take the amounts off what is used in the windows of `time` that are not over."""
    for limit, amount in wanted:
        at = slot(limit, time)
        if at == slot(limit, now):
            used[at] = max(0, used.get(at, 0) - amount)
