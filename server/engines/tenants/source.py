"""Where an engine gets the weights of its tenants from. Rule: what the folder holds decides, not a setting."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from server.engines.tenants.adapters import Adapters
from server.engines.tenants.ledger import TERMS, Ledger
from server.engines.tenants.sums import Floats
from server.engines.tenants.terms import Tensors


class TenantWeights(Protocol):
    """The tenants of one base model. `UnknownModel` for those that are not there."""

    @property
    def version(self) -> str:
        """Changes with every tenant that comes or goes."""
        ...

    def names(self) -> list[str]:
        """The tenants that are there."""
        ...

    def label(self, tenant: str) -> str:
        """A name of this tenant that nobody else has, nor itself when it is added once more."""
        ...

    @property
    def departed(self) -> frozenset[str]:
        """Labels of tenants that were there once."""
        ...

    def refresh(self) -> bool:
        """Look at the folder again; whether anything has changed."""
        ...

    def check(self, base: Tensors) -> None:
        """Raises `ValueError` where this is not their base."""
        ...

    def weights(self, tenant: str, base: Tensors) -> dict[str, Floats]:
        """The tensors of a tenant's model that are not the base's."""
        ...

    def delete(self, tenant: str) -> object:
        """Take a tenant out for good."""
        ...


def open_tenants(folder: Path) -> TenantWeights:
    """A merged model where there is a ledger, else adapters. `FileNotFoundError` where there is no folder."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no tenants at {folder}: a folder is needed")
    return Ledger(folder) if (folder / TERMS).is_file() else Adapters(folder)
