"""Whether a host gets calls. Rule: one that has failed too often gets none until it has answered a health check.

closed ─ failures in a row ─▶ open ─ health check ─▶ half-open ─ one call ─▶ closed, or open for twice as long
"""

from __future__ import annotations

from typing import Literal

State = Literal["closed", "half-open", "open"]

LONGEST_PAUSE = 60.0


class Breaker:
    """The state of one host; `pause` is the time to its next health check while it is open, in seconds."""

    def __init__(self, limit: int, pause: float) -> None:
        self.state: State = "closed"
        self.reason = ""
        """What happened last."""
        self.pause = pause
        self.failures = 0
        self._limit, self._shortest = limit, pause

    def succeeded(self) -> None:
        """A call was answered."""
        self.failures, self.reason = 0, ""
        if self.state == "half-open":
            self.state, self.pause = "closed", self._shortest

    def began(self) -> None:
        """A call has its first token: a host on trial has passed it."""
        if self.state == "half-open":
            self.succeeded()

    def failed(self, reason: str) -> None:
        """A call was not answered, or badly."""
        self.failures += 1
        self.reason = reason
        if self.state == "half-open" or self.failures >= self._limit:
            self.open(reason)

    def open(self, reason: str) -> None:
        """No further calls."""
        if self.state == "half-open":
            self.pause = min(2 * self.pause, LONGEST_PAUSE)
        self.state, self.reason = "open", reason

    def unanswered(self, reason: str) -> None:
        """A health check of an open host failed: the next one comes later."""
        self.reason = reason
        self.pause = min(2 * self.pause, LONGEST_PAUSE)

    def answered(self) -> None:
        """A health check succeeded."""
        if self.state == "open":
            self.state = "half-open"
