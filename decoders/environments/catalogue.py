"""From an operator's configuration to episodes, by name.

Rule: a request brings a name and plain values; the module of a kind, and with it Playwright or Gymnasium, is imported
only where the configuration has that kind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, Protocol

from decoders.core.errors import InvalidRequest
from decoders.environments.base import Environment, EnvironmentFactory
from decoders.environments.guard import Guarded
from decoders.environments.options import McpOptions, Options, Scalar

_MOST_ARGUMENTS = 16
_LONGEST = 2000
Arguments = Mapping[str, Scalar]


class Source(Protocol):
    """One kind of environment with its configuration: makes episodes and holds what they share."""

    def episode(self, reset: Arguments) -> Environment:
        """An episode that has not started. Raises `InvalidRequest` for arguments that it cannot take."""
        ...

    async def aclose(self) -> None:
        """Let go of what the episodes shared."""
        ...


class Catalogue(Mapping[str, EnvironmentFactory]):
    """The configured environments as factories. Raises `ValueError`, for the operator, where one cannot work."""

    def __init__(self, configured: Mapping[str, Options]) -> None:
        self._factories: dict[str, _Factory] = {}
        for name, options in configured.items():
            try:
                source = _SOURCES[getattr(options, "kind", "")](options)
            except (ValueError, ImportError) as error:
                raise ValueError(f"environments.{name}: {error}") from error
            if isinstance(options, McpOptions):
                self._factories[name] = _Toolbox(name, source, options)
            else:
                self._factories[name] = _Factory(name, source, options)

    async def open(self, name: str, reset: Mapping[str, Any] | None = None) -> Environment:
        """An episode that has not started. Raises `InvalidRequest`, param `environment`."""
        if name not in self._factories:
            known = ", ".join(self._factories) or "none"
            raise InvalidRequest(f"unknown environment {name[:80]!r}: there are {known}", param="environment")
        return await self._factories[name](reset or {})

    async def aclose(self) -> None:
        """Leave all episodes and let everything go."""
        for factory in self._factories.values():
            await factory.aclose()

    def __getitem__(self, name: str) -> EnvironmentFactory:
        return self._factories[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._factories)

    def __len__(self) -> int:
        return len(self._factories)


class _Factory:
    def __init__(self, name: str, source: Source, options: Options) -> None:
        self._name, self._source, self._options = name, source, options
        self._places = asyncio.Semaphore(options.max_concurrent)
        self._open: set[Guarded] = set()

    async def __call__(self, reset: Mapping[str, Any]) -> Environment:
        inner = self._source.episode({**self._options.reset, **checked(reset)})
        episode = Guarded(self._name, inner, self._options, self._places, self._open.discard)
        self._open.add(episode)
        return episode

    async def aclose(self) -> None:
        await asyncio.gather(*(episode.aclose() for episode in list(self._open)))
        await self._source.aclose()


class _Toolbox(_Factory):
    """What `Toolbox` asks for beyond a factory."""

    def __init__(self, name: str, source: Source, options: McpOptions) -> None:
        super().__init__(name, source, options)
        self.url = options.url


def checked(reset: Mapping[str, Any]) -> dict[str, Scalar]:
    """The arguments of a request, if they are a few plain values. Raises `InvalidRequest`."""
    if len(reset) > _MOST_ARGUMENTS:
        raise _refused(f"at most {_MOST_ARGUMENTS} arguments are taken")
    for name, value in reset.items():
        if not name.isidentifier() or len(name) > 64:
            raise _refused(f"{name[:64]!r} is no name of an argument")
        if value is not None and not isinstance(value, bool | int | float | str):
            raise _refused("not a plain value", name)
        if len(str(value)) > _LONGEST:
            raise _refused(f"longer than {_LONGEST} characters", name)
    return dict(reset)


def _refused(why: str, name: str = "") -> InvalidRequest:
    return InvalidRequest(f"environment.reset{'.' * bool(name)}{name}: {why}", param="environment")


class _Sites:
    """The built-in sites, which share nothing."""

    def __init__(self, options: Options) -> None:
        self._make = import_module("decoders.environments.site").SiteEnvironment

    def episode(self, reset: Arguments) -> Environment:
        environment: Environment = self._make(reset)
        return environment

    async def aclose(self) -> None:
        """Nothing is held."""


def _from(module: str, name: str) -> Callable[[Any], Source]:
    def make(options: Any) -> Source:
        source: Source = getattr(import_module(f"decoders.environments.{module}"), name)(options)
        return source

    return make


_SOURCES: Mapping[str, Callable[[Any], Source]] = {
    "builtin": _Sites,
    "openenv": _from("openenv", "OpenEnvSource"),
    "mcp": _from("mcp", "McpSource"),
    "gymnasium": _from("gymnasium", "GymnasiumSource"),
    "browser": _from("browser", "BrowserSource"),
}
