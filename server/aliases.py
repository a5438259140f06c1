"""Names under which an operator serves a model with a decoder, its options and an environment.

They are for clients that can set nothing but a model's name. Rule: a request's own fields win over the alias.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from server.environments import EnvironmentChoice

if TYPE_CHECKING:
    from server.service import Ask


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class AliasEnvironment(_Options):
    """The environment of an alias."""

    name: str
    """One of the environments of this server."""
    reset: dict[str, Any] = {}
    """The arguments with which its episodes begin."""


class Alias(_Options):
    """What a model's name stands for."""

    model: str
    """A served model, or one with a decoder, like longthink-tiny:rc."""
    decoder: str | None = None
    """The decoder of requests that name none."""
    options: dict[str, Any] = {}
    """Its options."""
    environment: str | AliasEnvironment | None = None
    """What agents act in."""

    @property
    def choice(self) -> EnvironmentChoice | None:
        """The environment, in the service's terms."""
        given = self.environment
        if given is None or isinstance(given, str):
            return EnvironmentChoice(given) if given else None
        return EnvironmentChoice(given.name, given.reset)

    def applied(self, ask: Ask) -> Ask:
        """What the ask means. Options are the alias's only for its own decoder."""
        same = ask.decoder in (None, self.decoder)
        return dataclasses.replace(
            ask,
            model=self.model,
            decoder=ask.decoder or self.decoder,
            options={**self.options, **ask.options} if same else ask.options,
            environment=ask.environment or self.choice,
        )
