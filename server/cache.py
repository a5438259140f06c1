"""Answers that were given before, for requests that must get the same answer again. Off unless the operator says so.

Rule: a request is cached only where it is repeatable, by its seed or at temperature 0, and its key holds everything
that the answer depends on. What is kept is the log of the first answer, so a repetition streams as the first one did.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any

import orjson

from decoders.core.events import Answer
from decoders.core.task import Model
from server.narrator import Piece
from server.recording import Recording
from server.report import Entry, Facts, Report
from server.service import Ask, Order
from server.settings import Settings
from server.store.base import Purged, StoreUnavailable, Values
from server.wishes import involved

VERSION = 1
"""Counts changes of what is kept; older entries are not found any more."""
_BREAK = b"\n"


class Cache:
    """Keeps answers for `seconds`, each of at most `max_bytes`. API keys, the `owner`s, share nothing."""

    @classmethod
    def of(cls, settings: Settings, store: Values, models: Mapping[str, Model]) -> Cache | None:
        """As the operator wants it."""
        if not settings.cache_seconds:
            return None
        return cls(store, models, seconds=settings.cache_seconds, max_bytes=settings.cache_bytes)

    def __init__(self, store: Values, models: Mapping[str, Model], *, seconds: float, max_bytes: int) -> None:
        self._store, self._seconds, self.max_bytes = store, seconds, max_bytes
        self._served = models
        self._models = {name: _known(model) for name, model in models.items()}

    def key(self, ask: Ask, order: Order, owner: str) -> str | None:
        """Where the answer would be; None for requests that are not repeatable."""
        seeded, greedy = ask.seed is not None, order.sampling.temperature == 0
        if not (seeded or greedy) or order.deadline is not None or order.environment is not None:
            return None
        sampling = dataclasses.replace(order.sampling, priority=0)
        decoder = [order.decoder.name, order.decoder.model_dump(mode="json")]
        asked = [sampling, order.reply, [dataclasses.asdict(task) for task in order.tasks], order.budget, order.n]
        known = [VERSION, self._models, owner, order.model, decoder, asked, order.seed if seeded else None]
        known += ["steps"] if order.steps else []
        tenants = [name for name in involved(order.decoder, order.model) if name not in self._models]
        known += [{name: _known(self._served[name]) for name in tenants}] if tenants else []
        digest = hashlib.sha256(orjson.dumps(known, default=_plain, option=orjson.OPT_SORT_KEYS)).hexdigest()
        return f"cache/{digest}"

    async def find(self, key: str) -> Report | None:
        """The answer of an earlier request. An unreachable store has none."""
        try:
            kept = await self._store.value(key)
        except StoreUnavailable:
            return None
        if kept is None:
            return None
        choices, *lines = kept.split(_BREAK)
        return Recording(_once(lines), int(choices), cached=True)

    def keeping(self, report: Report, key: str) -> Report:
        """The same report, which is kept once it has been read to the end."""
        return _Keeping(report, self, key)

    async def keep(self, key: str, choices: int, lines: Sequence[bytes], labels: Sequence[str] = ()) -> None:
        """Keep an answer, unless the store is out of reach or a tenant that had a part in it has been deleted."""
        with suppress(StoreUnavailable, Purged):
            await self._store.keep(key, _BREAK.join((b"%d" % choices, *lines)), self._seconds, labels=labels)


class _Keeping(Report):
    """A report that is written down while it is read."""

    def __init__(self, report: Report, cache: Cache, key: str) -> None:
        self.choices, self.labels = report.choices, report.labels
        self._report, self._cache, self._key = report, cache, key

    async def pieces(self) -> AsyncGenerator[list[tuple[int, Piece]], None]:
        """What there is to show."""
        lines, unfinished, room = list[bytes](), set(range(self.choices)), self._cache.max_bytes
        async with aclosing(self._report.pieces()) as batches:
            async for batch in batches:
                new = {i: answer for i in unfinished if (answer := self._report.answer(i))}
                unfinished -= new.keys()
                if room >= 0:
                    lines.append(Entry(tuple(batch), new).dump())
                    room -= len(lines[-1])
                yield batch
        if room >= 0:
            lines.append(Entry(facts=self._report.facts()).dump())
            await self._cache.keep(self._key, self.choices, lines, self.labels)

    def answer(self, index: int) -> Answer | None:
        """The answer of one choice, once it is there."""
        return self._report.answer(index)

    def facts(self) -> Facts:
        """Everything else."""
        return self._report.facts()


def _known(model: Model) -> list[str]:
    """What of a model an answer depends on."""
    return [getattr(model.engine, "fingerprint", model.engine.model), model.pack.name, model.pack.version]


async def _once(lines: Sequence[bytes]) -> AsyncGenerator[Sequence[bytes], None]:
    yield lines


def _plain(value: Any) -> Any:
    """What orjson does not know."""
    if isinstance(value, frozenset):
        return sorted(value)
    raise TypeError(f"a {type(value).__name__} has no place in a cache key")
