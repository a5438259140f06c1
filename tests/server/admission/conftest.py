"""A server with keys: the file, the store that counts for it, and a clock that stands still where windows matter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from server.admission import keys
from server.engines.scripted import ScriptedEngine
from server.settings import Settings
from server.store.base import Store
from tests.server.admission.counting import CountingStore
from tests.server.conftest import Live, serving


class KeyFile:
    """A file of keys, with the keys themselves."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys: dict[str, str] = {}
        path.touch()

    def add(self, id: str, **terms: Any) -> str:
        """A new key; terms as TOML texts."""
        key, digest = keys.create(id)
        lines = [f"[keys.{id}]", f'hash = "{digest}"', *(f"{name} = {value}" for name, value in terms.items())]
        self.path.write_text(self.path.read_text() + "\n".join(lines) + "\n")
        self.keys[id] = key
        return key

    def bearer(self, id: str) -> Mapping[str, str]:
        return {"authorization": f"Bearer {self.keys[id]}"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.toml")


@contextmanager
def guarded(
    file: KeyFile, engine: ScriptedEngine | None = None, store: Store | None = None, **settings: Any
) -> Iterator[Live]:
    """A server that wants keys."""
    wanted = Settings(engine="scripted", keys=file.path, **settings)
    with serving(wanted, store=store or CountingStore(), base=engine or ScriptedEngine(model="base")) as running:
        yield running
