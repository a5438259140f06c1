"""A model small enough that a training step takes milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from training import tiny


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained checkpoint with the vocabulary of Countdown, 20 thousand parameters."""
    folder = tmp_path_factory.mktemp("small")
    net = tiny.model(7, width=32, layers=1, feed_forward=32)
    tiny.save(net, folder, pack="tiny", temperature=1.0, card="")
    return folder


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
