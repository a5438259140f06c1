"""Which environments are offered. Rule: they are chosen on the command line; a client names one of them."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from server.envhost.conversion import Refused, schema_of


class Gym:
    """The environments that may be asked for. `ValueError` where there are none."""

    def __init__(self, patterns: Sequence[str], imports: Sequence[str], options: Mapping[str, Any]) -> None:
        self._gymnasium = import_module("gymnasium")
        self.imports, self.options = tuple(imports), dict(options)
        for module in imports:
            import_module(module)
        registered = list(self._gymnasium.registry)
        found = [name for pattern in patterns for name in fnmatch.filter(registered, pattern)]
        self.ids: list[str] = list(dict.fromkeys(found))
        if not self.ids:
            raise ValueError(f"no registered environment matches {', '.join(patterns)}: is an --import missing?")

    def chosen(self, task: object) -> str:
        """The id of a task: the first without one, a whole id, or the one id that ends so."""
        if task is None:
            return self.ids[0]
        named = str(task)
        ending: list[str] = [name for name in self.ids if name == named or name.endswith((f".{named}", f"/{named}"))]
        if len(ending) != 1:
            raise Refused("VALIDATION_ERROR", f"task: {named[:80]!r} is not one of the environments here")
        return ending[0]

    def make(self, name: str) -> Any:
        """A fresh environment."""
        return self._gymnasium.make(name, **self.options)

    def action(self) -> dict[str, Any]:
        """The JSON Schema of an action, from the first environment's space."""
        environment = self.make(self.ids[0])
        space = environment.action_space
        environment.close()
        return schema_of(space)
