"""What keeps responses: their objects, and the events of those that run in the background.

Rule: an event's number is its place in the log, so whoever has seen number k goes on with k + 1, in any process.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Stored:
    """A response as it is kept, everything in it as JSON.

    `input` are the items that were asked, `context` those of the conversation before. Once it is `done` nothing changes
    any more.
    """

    id: str
    body: bytes
    input: tuple[bytes, ...]
    context: tuple[bytes, ...] = ()
    background: bool = False
    done: bool = False

    @property
    def size(self) -> int:
        """Bytes that it takes at most: items of the context may be shared with the responses before."""
        return len(self.body) + sum(map(len, self.input)) + sum(map(len, self.context))


class ResponseStore(Protocol):
    """Keeps responses for a while; it may forget those that are done."""

    async def put(self, response: Stored) -> None:
        """Keep a response, or what has become of it."""
        ...

    async def get(self, id: str) -> Stored | None:
        """The response of this id, if it is still there."""
        ...

    async def delete(self, id: str) -> bool:
        """Forget a response with its events; whether it was there."""
        ...

    async def append(self, id: str, events: Sequence[bytes]) -> None:
        """Add events to the log of a response that is kept."""
        ...

    def follow(self, id: str, after: int) -> AsyncGenerator[Sequence[bytes], None]:
        """The events numbered above `after`, then further ones as they come, until the response is done or deleted."""
        ...
