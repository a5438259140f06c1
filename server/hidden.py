"""Turns that callers do not see, kept in the store under ids that they send back with the results of their tools.

Rule: they are never needed. Where the store is away or has forgotten them, the conversation goes on without.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping, Sequence

import orjson

from decoders.core.messages import Message
from server.store.base import Purged, StoreUnavailable, Values

PREFIX = "call_lt"
"""How ids of tool calls begin that have turns in front of them: others need not be looked up."""

log = logging.getLogger("longthink")


class HiddenTurns:
    """A decoder's `Memory` in the store; turns are kept for `seconds`."""

    def __init__(self, values: Values, seconds: float, labels: Sequence[str] = ()) -> None:
        self._values, self._seconds, self._labels = values, seconds, labels

    def of(self, labels: Sequence[str]) -> HiddenTurns:
        """The same for requests in which these tenants' models have a part."""
        return HiddenTurns(self._values, self._seconds, labels)

    async def keep(self, turns: Sequence[Message]) -> str:
        """Keep turns under a new id, which nobody can guess."""
        id = f"{PREFIX}{uuid.uuid4().hex}"
        try:
            value = orjson.dumps([[turn.role, turn.content] for turn in turns])
            await self._values.keep(_key(id), value, self._seconds, labels=self._labels)
        except (StoreUnavailable, Purged) as error:
            log.warning("turns before a tool call are not kept: %s", error)
        return id

    async def recall(self, ids: Sequence[str]) -> Mapping[str, tuple[Message, ...]]:
        """The turns that are still there, by id."""
        ours = [id for id in dict.fromkeys(ids) if id.startswith(PREFIX)]
        try:
            found = await asyncio.gather(*(self._values.value(_key(id)) for id in ours))
        except StoreUnavailable as error:
            log.warning("a conversation goes on without its hidden turns: %s", error)
            return {}
        return {id: _turns(value) for id, value in zip(ours, found, strict=True) if value is not None}


def _key(id: str) -> str:
    return f"hidden:{id}"


def _turns(value: bytes) -> tuple[Message, ...]:
    return tuple(Message(role, content) for role, content in orjson.loads(value))
