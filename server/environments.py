"""The environments that an operator lets requests act in. Rule: a request chooses among them; it never brings one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from decoders.core.episode import Opener
from decoders.core.errors import InvalidRequest
from decoders.environments.base import Environment, EnvironmentFactory, Observation, Toolbox

SEEDS = 2**31


@dataclass(frozen=True, slots=True)
class EnvironmentChoice:
    """An environment by name, and the arguments with which an episode begins.

    A `toolbox` may be named by its URL instead, and only some of its tools be wanted.
    """

    name: str
    reset: Mapping[str, Any] = field(default_factory=dict)
    toolbox: bool = False
    url: str = ""
    tools: tuple[str, ...] | None = None


class Environments:
    """All of them, by name."""

    def __init__(self, factories: Mapping[str, EnvironmentFactory]) -> None:
        self._factories = dict(factories)

    @property
    def names(self) -> tuple[str, ...]:
        """What there is to choose from."""
        return tuple(self._factories)

    def resolve(self, choice: EnvironmentChoice, param: str = "environment") -> EnvironmentChoice:
        """The choice under the name that it has here. Raises `InvalidRequest` for what is not here."""
        if choice.toolbox:
            boxes = {name: made.url for name, made in self._factories.items() if isinstance(made, Toolbox)}
            same = choice.url.rstrip("/")
            found = [n for n, url in boxes.items() if (url.rstrip("/") == same if same else n == choice.name)]
            if not found:
                message = f"this server may not call {choice.url or choice.name!r:.200}: its operator has to allow it"
                raise InvalidRequest(message, param=param, code="environment_not_found")
            return dataclasses.replace(choice, name=found[0])
        if choice.name not in self._factories:
            known = ", ".join(self.names) or "none"
            message = f"there is no environment {choice.name[:80]!r} here: there are {known}"
            raise InvalidRequest(message, param=param, code="environment_not_found")
        return choice

    def opener(self, choice: EnvironmentChoice, seed: int) -> Opener:
        """Opens an episode: the same one again for the same choice and seed, which tools have no use for."""
        factory = self._factories[choice.name]
        reset = choice.reset if isinstance(factory, Toolbox) else {"seed": seed % SEEDS, **choice.reset}
        return partial(_opened, factory, reset, choice.tools)


async def _opened(factory: EnvironmentFactory, reset: Mapping[str, Any], tools: tuple[str, ...] | None) -> Environment:
    environment = await factory(reset)
    return environment if tools is None else _Some(environment, frozenset(tools))


class _Some:
    """An environment of which only some tools may be used."""

    def __init__(self, environment: Environment, allowed: frozenset[str]) -> None:
        self._environment, self._allowed = environment, allowed
        self.answer, self.aclose = environment.answer, environment.aclose

    async def start(self) -> Observation:
        """The first observation, with the tools that are allowed."""
        seen = await self._environment.start()
        offered = [tool for tool in json.loads(seen.tools or "[]") if tool["function"]["name"] in self._allowed]
        return dataclasses.replace(seen, tools=json.dumps(offered, ensure_ascii=False))

    async def step(self, action: str) -> Observation:
        """Carry out an allowed action; other calls are errors for the agent to see."""
        name = json.loads(action).get("name") if action.startswith("{") else None
        if name not in self._allowed and self._environment.answer(action) is None:
            return Observation(f"there is no tool {name!r:.80}", error=True)
        return await self._environment.step(action)
