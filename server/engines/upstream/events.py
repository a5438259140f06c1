"""Server-sent events out of the bytes of a response. Rule: only `data:` lines mean anything in this API."""

from __future__ import annotations

from typing import Any

import orjson

from decoders.core.errors import EngineError

_LONGEST = 32 * 1024 * 1024
"""Bytes of one event; more is no event but a server gone mad."""


class EventReader:
    """Feed bytes as they arrive, get the decoded events that they complete; `done` after `[DONE]`."""

    def __init__(self) -> None:
        self.done = False
        self._held = b""

    def feed(self, data: bytes) -> list[Any]:
        """Raises `EngineError` for what is not JSON."""
        *lines, self._held = (self._held + data).split(b"\n")
        if len(self._held) > _LONGEST:
            raise EngineError("the upstream sent an event without an end")
        events = []
        for line in lines:
            if line.startswith(b"data:"):
                content = line[5:].strip()
                if content == b"[DONE]":
                    self.done = True
                    break
                events.append(decode(content))
        return events


def decode(content: bytes) -> Any:
    """JSON from an upstream. Raises `EngineError`."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        shown = content[:80].decode("utf-8", "replace")
        raise EngineError(f"the upstream sent what is not JSON: {shown!r}") from error
