from __future__ import annotations

import os

import pytest

from tests.environments.support import Family


@pytest.fixture
def family(monkeypatch: pytest.MonkeyPatch) -> Family:
    """The processes begun in this test."""
    value = os.urandom(8).hex()
    monkeypatch.setenv("LONGTHINK_TEST_MARK", value)
    return Family(f"LONGTHINK_TEST_MARK={value}")


@pytest.fixture(scope="session")
def chromium() -> None:
    """A real browser."""
    pytest.importorskip("playwright", reason="pip install playwright")
    from decoders.environments.browser.chromium import find

    try:
        find(None)
    except ValueError as error:
        pytest.skip(str(error))
