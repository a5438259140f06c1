"""What comes back: the events of one call as chunks. Rule: the tokens of a completion's chunks add up exactly.

Where the host counts each piece (token ids, or usage that goes along), so do the chunks. Elsewhere every piece counts
as one token until the usage at the end tells the truth, and the last chunk makes up the difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from decoders.core.engine import Chunk
from decoders.core.errors import EngineError
from server.engines.upstream.choice import Choice, count
from server.engines.upstream.failures import event_error


class Reply:
    """The `n` completions of one call, numbered from `first`, while they grow."""

    def __init__(self, *, n: int = 1, first: int = 0, thinking: bool = False, counted: bool = False) -> None:
        self.begun = False
        """Whether anything was generated."""
        self._counted = counted
        self._choices = [Choice(first + i, thinking=thinking) for i in range(n)]
        self._usage: Mapping[str, Any] | None = None

    @property
    def unfinished(self) -> bool:
        """Whether chunks are still to come."""
        return not all(choice.closed for choice in self._choices)

    def take(self, events: list[Any]) -> list[Chunk]:
        """The chunks of events that arrived together, neighbours joined.

        Raises what the host reports, and `EngineError` for events that are none of OpenAI's.
        """
        with self._checked():
            for event in events:
                self._event(event)
        chunks = []
        for choice in self._choices:
            chunks += choice.flush()
            # one completion alone waits for the usage, which tells more
            if choice.finish is not None and choice.counted and len(self._choices) > 1 and not choice.closed:
                chunks += choice.close()
        self.begun = self.begun or any(choice.begun for choice in self._choices)
        return chunks

    def end(self) -> list[Chunk]:
        """The last chunks. Raises `EngineError` for a reply that broke off or told no token counts."""
        chunks = []
        for choice in self._choices:
            if choice.closed:
                continue
            if choice.finish is None:
                raise EngineError("the upstream's reply broke off")
            if len(self._choices) == 1 and self._usage is not None:
                with self._checked():
                    choice.settle(self._usage)
            elif not choice.counted:
                raise EngineError(self._uncounted())
            chunks += choice.close()
        return chunks

    @contextmanager
    def _checked(self) -> Iterator[None]:
        """A field that is missing, or of another type than in OpenAI's API, is the upstream's error."""
        try:
            yield
        except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
            raise EngineError(f"the upstream's reply is not one of OpenAI's API: {error}") from error

    def _uncounted(self) -> str:
        if len(self._choices) > 1:
            return "the upstream did not count each completion of one call: name another dialect for it"
        return "the upstream told no token counts (usage), without which no budget can be kept"

    def _event(self, event: dict[str, Any]) -> None:
        if (error := event.get("error")) is not None:
            raise event_error(error, begun=self.begun or any(choice.begun for choice in self._choices))
        if event.get("object") == "error":
            raise event_error(event, begun=self.begun)
        usage, choices = event.get("usage"), event.get("choices") or ()
        for found in choices:
            index = count(found.get("index", 0))
            self._choices[index].take(found, usage if self._counted and len(choices) == 1 else None)
        if usage:
            self._usage = usage
