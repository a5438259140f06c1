"""Tenants of a model in vLLM: a folder of LoRA adapters, each a request's `lora_request` under `base@tenant`.

Rule: the number by which vLLM knows an adapter is never used again, so nothing that vLLM keeps of one that is gone can
be taken for another's. This module imports nothing of vLLM.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from decoders.core.errors import UnknownModel
from server.engines.tenants.adapters import Adapters
from server.engines.tenants.source import open_tenants


class LoraTenants:
    """The adapters of a folder; `make` builds vLLM's request from a name, a number and a path."""

    def __init__(self, folder: Path, make: Callable[[str, int, str], Any], first: int = 1) -> None:
        source = open_tenants(folder)
        if not isinstance(source, Adapters):
            raise ValueError(f"--tenants: {folder} is a merged model, which only the embedded engine serves")
        self.source = source
        self._make, self._numbers = make, itertools.count(first)
        self._requests: dict[str, tuple[str, Any]] = {}
        self.gone: dict[str, Any] = {}
        """Requests of adapters that are no longer there, by label, until vLLM has been told."""

    def request(self, tenant: str) -> Any:
        """What vLLM is to compute with; the same object as long as the adapter is the same. Raises `UnknownModel`."""
        self.look()
        label = self.source.label(tenant)
        if tenant not in self._requests:
            path = str((self.source.folder / tenant).resolve())
            self._requests[tenant] = label, self._make(label, next(self._numbers), path)
        return self._requests[tenant][1]

    def look(self) -> None:
        """Notice adapters that have been taken away or replaced."""
        self.source.refresh()
        there = {self.source.label(tenant) for tenant in self.source.names()}
        for tenant, (label, request) in list(self._requests.items()):
            if label not in there:
                self.gone[label] = request
                del self._requests[tenant]

    def delete(self, tenant: str) -> None:
        """Remove the adapter from the folder. Raises `UnknownModel`."""
        self.source.delete(tenant)
        self.look()

    @staticmethod
    def ended(tenant: str) -> UnknownModel:
        """What the calls of a deleted tenant end with."""
        return UnknownModel(f"the tenant {tenant!r} was deleted", param="model")
