"""What an environment is: one episode, from its start to its end, in text.

Rule: single use. An environment is started once, stepped until it is done or left, and closed; there is no reset, so
nothing of one episode can leak into the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Observation:
    """What the agent sees after the start or after an action.

    `reward` is None where the environment gave none with this observation. `done` says that the episode is over. With
    `error` the action could not be carried out, and the text says why: that is something to see, not a failure.
    """

    text: str
    reward: float | None = None
    done: bool = False
    error: bool = False
    goal: str = ""
    """What the agent is to do; with the first observation, empty where the text says it."""
    tools: str = ""
    """With the first observation: OpenAI's array of tools as JSON, where actions are calls of them."""


class Environment(Protocol):
    """One episode. Everything it raises is an `EnvironmentFailed`; `aclose` raises nothing and may be called twice."""

    async def start(self) -> Observation:
        """Begin the episode."""
        ...

    async def step(self, action: str) -> Observation:
        """Carry out an action: a line of text, or for environments with tools a JSON object of name and arguments."""
        ...

    def answer(self, action: str) -> str | None:
        """The answer that an action gives, for actions that end the episode with one; None for all others.

        A decoder may keep such an action back, so asking must not carry it out.
        """
        ...

    async def aclose(self) -> None:
        """Leave the episode; whatever it holds (a browser context, a session) is let go."""
        ...


class EnvironmentFactory(Protocol):
    """Makes episodes of one environment; an operator's configuration is a mapping from names to these."""

    async def __call__(self, reset: Mapping[str, Any]) -> Environment:
        """An episode that has not started; what it needs is opened by `start`.

        `reset` is what the request asks for, with a `seed` where that has none: equal arguments make equal episodes,
        and without that a run cannot be resumed. Raises `InvalidRequest`, param `environment`, for other arguments.
        """
        ...


@runtime_checkable
class Toolbox(EnvironmentFactory, Protocol):
    """A factory for episodes with the tools of an MCP server, which requests may name by its URL. It gets no seed."""

    url: str
