"""Tenants of the served models: found under `base@tenant`, listed by whoever may use them, deleted for good.

Rule: what is kept on behalf of a tenant (runs, responses, cached answers, hidden turns) has its label in the store, and
goes with it. A deletion that somebody else has made, in the folder or on another replica, is followed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from decoders.core.engine import Engine
from decoders.core.errors import UnknownModel
from decoders.core.task import Model
from server.store.base import Store, StoreUnavailable

_LOOK_SECONDS = 1.0
_AT = "@"

log = logging.getLogger("longthink")


@runtime_checkable
class Tenanted(Protocol):
    """An engine that has, or may have, tenants."""

    @property
    def departed(self) -> frozenset[str]:
        """Labels of tenants that were there once."""
        ...

    def tenants(self) -> list[str]:
        """Their names."""
        ...

    def tenant(self, name: str) -> Engine:
        """The engine of one of them. Raises `UnknownModel`."""
        ...

    def tenant_label(self, name: str) -> str:
        """A name that nobody else ever had, nor the tenant itself when it comes back. Raises `UnknownModel`."""
        ...

    async def delete_tenant(self, name: str) -> None:
        """Take it out for good. Raises `UnknownModel`, or `NotKept`."""
        ...


class Served(Mapping[str, Model]):
    """The served models by name; tenants' are found under their names, and not counted."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._models = models

    def __getitem__(self, name: str) -> Model:
        if name in self._models:
            return self._models[name]
        base, engine, tenant = self._split(name)
        try:
            return Model(engine.tenant(tenant), base.pack)
        except UnknownModel as error:
            raise KeyError(name) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    @property
    def tenanted(self) -> list[Tenanted]:
        """The engines that may have tenants."""
        return [model.engine for model in self._models.values() if isinstance(model.engine, Tenanted)]

    def tenants(self) -> list[str]:
        """The names of all tenants' models."""
        found = ((name, model.engine) for name, model in self._models.items())
        return [
            f"{name}{_AT}{who}" for name, engine in found if isinstance(engine, Tenanted) for who in engine.tenants()
        ]

    def base(self, name: str) -> str:
        """The model that a tenant's is made of; any other name as it is."""
        return name if name in self._models else name.rpartition(_AT)[0]

    def labels(self, names: Iterable[str]) -> tuple[str, ...]:
        """What belongs to the tenants among these models has these labels. Raises `UnknownModel`."""
        return tuple(self._label(name) for name in names if name not in self._models)

    async def delete(self, name: str, store: Store) -> int:
        """Delete a tenant with all that is kept of it, and tell how much that was.

        Raises `UnknownModel`, `NotKept`, or `StoreUnavailable`: then the tenant is gone, and the rest follows.
        """
        label = self._label(name)
        _, engine, tenant = self._split(name)
        await engine.delete_tenant(tenant)
        log.info("tenant %s deleted", name)
        return await store.purge(label)

    def _label(self, name: str) -> str:
        try:
            _, engine, tenant = self._split(name)
            return engine.tenant_label(tenant)
        except (KeyError, UnknownModel) as error:
            raise UnknownModel(f"the model {name!r} does not exist", param="model") from error

    def _split(self, name: str) -> tuple[Model, Tenanted, str]:
        base, _, tenant = name.rpartition(_AT)
        model = self._models.get(base)
        if model is None or not tenant or not isinstance(model.engine, Tenanted):
            raise KeyError(name)
        return model, model.engine, tenant


class Departures:
    """Has the store forget tenants that are gone, whoever has deleted them, until it has."""

    def __init__(self, engines: Sequence[Tenanted], store: Store) -> None:
        self._engines, self._store = engines, store
        self._followed: set[str] = set()

    async def run(self) -> None:
        """Until cancelled."""
        while self._engines:
            try:
                await self.follow()
            except StoreUnavailable as error:
                log.warning("what is kept of deleted tenants is still there: %s", error)
            await asyncio.sleep(_LOOK_SECONDS)

    async def follow(self) -> None:
        """Purge what belongs to those that have gone since the last time."""
        for label in frozenset().union(*(engine.departed for engine in self._engines)) - self._followed:
            await self._store.purge(label)
            self._followed.add(label)
