"""What of a run concerns its environment. Rule: only the run itself acts; what it does side by side has no episode."""

from __future__ import annotations

from abc import ABC, abstractmethod

from decoders.core.episode import Episode
from decoders.core.errors import NoEnvironment
from decoders.core.trace import Act, Interaction, Trace
from decoders.environments.base import Observation


class Acting(ABC):
    """The part of a run by which a decoder acts; `episode` is None where there is nothing to act in."""

    episode: Episode | None

    @property
    @abstractmethod
    def trace(self) -> Trace:
        """The record of all steps so far, branches included."""

    async def begin(self, max_steps: int, *, count_answers: bool = False) -> Observation:
        """Start the episode, which may take so many steps, answers not counted unless that is wanted."""
        return await self._acting().begin(self._next_key(), max_steps, count_answers=count_answers)

    async def act(self, action: str, *, withhold: bool = False, final: bool = False) -> Act:
        """Carry out an action, but one that gives an answer not where that is to be withheld.

        The environment does not see an action for which no step is left, nor a `final` one that it does not know as an
        answer. Raises `NoEnvironment`, `EnvironmentFailed`, and `BudgetExhausted` at the deadline.
        """
        return await self._acting().act(self._next_key(), action, withhold=withhold, final=final)

    async def refuse(self, action: str, text: str) -> Act:
        """Count as a step what is no action; the observation is this text, and the environment sees nothing."""
        return await self._acting().refuse(self._next_key(), action, text)

    async def deliver(self) -> Act | None:
        """Let the environment see the answer that was withheld last, if there is one."""
        episode = self._acting()
        return await episode.deliver(self._next_key()) if episode.withheld else None

    @property
    def interaction(self) -> Interaction:
        """How the interactions stand. Raises `NoEnvironment` before there are any."""
        if self.trace.interaction is None:
            raise NoEnvironment("no episode has begun", param="environment")
        return self.trace.interaction

    def _acting(self) -> Episode:
        if self.episode is None:
            raise NoEnvironment("there is no environment to act in", param="environment")
        return self.episode

    @abstractmethod
    def _next_key(self) -> str: ...
