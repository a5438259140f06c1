"""What the tests of whole fleets share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from server.engines.scripted import ScriptedEngine
from tests.contract.stores.support import MISSING, RedisServer, redis_is_missing, redis_server
from tests.environments.conftest import chromium as chromium
from tests.server.conftest import Live, serving
from tests.system.fleet import speak


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if redis_is_missing():
        pytest.skip(MISSING)
    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(scope="module")
def upstream() -> Iterator[Live]:
    with serving(base=ScriptedEngine(speak, model="base", token_delay=0.0005)) as running:
        yield running
