"""Requests and tokens of a key in a window of time, counted in the store, exactly over all replicas.

Rule: a request takes its whole budget before it begins and gives back what it did not spend, so that a key can never
have more than its limit. Where the store cannot be asked, nobody is admitted.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from server.admission.caller import Caller, Terms
from server.admission.refusals import RateLimited
from server.store.base import Counters, Limit, StoreUnavailable, Taken

Kind = Literal["requests", "tokens"]
_MINUTE, _DAY = 60, 86_400

log = logging.getLogger("longthink")


class _Wanted(NamedTuple):
    kind: Kind
    limit: Limit
    amount: int


class Limits:
    """The limits of all keys over one store."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._settling: set[asyncio.Task[None]] = set()

    async def claim(self, caller: Caller, tokens: int) -> None:
        """Take a request and its budget. Raises `RateLimited`; then nothing was taken."""
        wanted, claim = _wanted(caller.terms, 1, tokens), caller.claim
        taken = await self._take(wanted)
        if not taken.granted:
            claim.headers = _headers(wanted, taken)
            raise _refusal(wanted, taken)
        claim.time, claim.tokens, claim.headers = taken.time, tokens, _headers(wanted, taken)

    async def settle(self, caller: Caller, spent: int) -> None:
        """Give back what of a claim was not spent, also where the caller is cancelled meanwhile; only once."""
        time, caller.claim.time = caller.claim.time, None
        unspent = [w for w in _wanted(caller.terms, 0, caller.claim.tokens - spent) if w.amount]
        if time is None or not unspent:
            return
        task = asyncio.create_task(self._give_back(unspent, time))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        await asyncio.shield(task)

    async def headers(self, caller: Caller) -> Mapping[str, str]:
        """Where a key stands, for a request that takes nothing. Raises `StoreUnavailable`."""
        if caller.claim.headers is None and caller.terms.counted:
            wanted = _wanted(caller.terms, 0, 0)
            caller.claim.headers = _headers(wanted, await self._take(wanted))
        return caller.claim.headers or {}

    async def aclose(self) -> None:
        """Wait until everything is given back."""
        await asyncio.gather(*self._settling)

    async def _take(self, wanted: Sequence[_Wanted]) -> Taken:
        return await self._counters.take([(w.limit, w.amount) for w in wanted])

    async def _give_back(self, wanted: Sequence[_Wanted], time: float) -> None:
        try:
            await self._counters.give_back([(w.limit, w.amount) for w in wanted], time)
        except StoreUnavailable as error:
            log.warning("unspent tokens of a key stay counted until their window ends: %s", error)


def _wanted(terms: Terms, requests: int, tokens: int) -> list[_Wanted]:
    """What to take under each limit that the key has."""
    limits: list[tuple[Kind, str, int | None, int, int]] = [
        ("requests", "minute", terms.requests_per_minute, _MINUTE, requests),
        ("tokens", "minute", terms.tokens_per_minute, _MINUTE, tokens),
        ("tokens", "day", terms.tokens_per_day, _DAY, tokens),
    ]
    return [
        _Wanted(kind, Limit(f"{kind}/{window}/{terms.id}", most, seconds), amount)
        for kind, window, most, seconds, amount in limits
        if most is not None
    ]


def _refusal(wanted: Sequence[_Wanted], taken: Taken) -> RateLimited:
    """Of the limits that are in the way, the one that lasts longest."""
    rows = [*zip(wanted, taken.left, taken.resets, strict=True)]
    short = [row for row in rows if row[1] < row[0].amount] or rows
    (kind, limit, amount), left, resets = max(short, key=lambda row: row[2])
    window = "minute" if limit.seconds == _MINUTE else "day"
    message = f"this API key has {left} of its {limit.most} {kind} per {window} left, and this request takes {amount}"
    return RateLimited(message, kind, resets, f"{kind}_per_{window}")


def _headers(wanted: Sequence[_Wanted], taken: Taken) -> dict[str, str]:
    """OpenAI's headers; of two windows the one with less left."""
    told: dict[str, str] = {}
    for kind in ("requests", "tokens"):
        rows = [
            (left, resets, w.limit.most)
            for w, left, resets in zip(wanted, taken.left, taken.resets, strict=True)
            if w.kind == kind
        ]
        if rows:
            left, resets, most = min(rows)
            told[f"x-ratelimit-limit-{kind}"] = str(most)
            told[f"x-ratelimit-remaining-{kind}"] = str(left)
            told[f"x-ratelimit-reset-{kind}"] = f"{math.ceil(resets)}s"
    return told
