"""Who is held out. Rule: a hash of what a problem is, and nothing else, decides, so that no seed or order can leak."""

from __future__ import annotations

import hashlib
from typing import Literal

Split = Literal["train", "dev", "test"]


def split(problem: str) -> Split:
    """10 % of all problems are for testing and 10 % for development."""
    first = hashlib.sha256(problem.encode()).digest()[0]
    return "test" if first < 26 else "dev" if first < 52 else "train"
