"""Turns that a caller does not see, kept until the conversation comes back with the calls that follow them.

Rule: a conversation goes on without what is no longer there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from decoders.core.messages import Message


class Memory(Protocol):
    """Keeps turns under ids of tool calls, which is the one thing that every client sends back as it was."""

    async def keep(self, turns: Sequence[Message]) -> str:
        """Keep turns under a new id, which nobody can guess."""
        ...

    async def recall(self, ids: Sequence[str]) -> Mapping[str, tuple[Message, ...]]:
        """The turns that are still there, by id."""
        ...
