"""The environments that an operator lets requests act in. Rule: a request names one; it never says where it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from decoders.core.episode import Opener
from decoders.core.errors import InvalidRequest
from decoders.environments.base import Environment, EnvironmentFactory

SEEDS = 2**31


@dataclass(frozen=True, slots=True)
class EnvironmentChoice:
    """An environment by name, and the arguments with which an episode begins."""

    name: str
    reset: Mapping[str, Any] = field(default_factory=dict)


class Environments:
    """All of them, by name."""

    def __init__(self, factories: Mapping[str, EnvironmentFactory]) -> None:
        self._factories = dict(factories)

    @property
    def names(self) -> tuple[str, ...]:
        """What there is to choose from."""
        return tuple(self._factories)

    def check(self, choice: EnvironmentChoice) -> None:
        """Raises `InvalidRequest` for an environment that is not here."""
        if choice.name not in self._factories:
            known = ", ".join(self.names) or "none"
            message = f"there is no environment {choice.name[:80]!r} here: there are {known}"
            raise InvalidRequest(message, param="environment", code="environment_not_found")

    def opener(self, choice: EnvironmentChoice, seed: int) -> Opener:
        """Opens an episode; the same one again for the same choice and seed."""
        reset = {"seed": seed % SEEDS, **choice.reset}
        return partial(_opened, self._factories[choice.name], reset)


async def _opened(factory: EnvironmentFactory, reset: Mapping[str, Any]) -> Environment:
    return await factory(reset)
