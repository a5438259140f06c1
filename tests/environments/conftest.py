from __future__ import annotations

import os

import pytest


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """Something that all processes begun in this test have in their environment."""
    text = f"LONGTHINK_TEST_MARK={os.urandom(8).hex()}"
    name, _, value = text.partition("=")
    monkeypatch.setenv(name, value)
    return text
