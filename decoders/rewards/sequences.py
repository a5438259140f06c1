"""The check of a continued sequence: an answer is right when it states the wanted numbers in order and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence


def continues(wanted: Sequence[int], answer: str) -> bool:
    """Whether the answer is these numbers, with spaces, commas or a full stop around them."""
    if not re.fullmatch(r"[\d\s,.]*", answer):
        return False
    return [int(number) for number in re.findall(r"\d+", answer)] == list(wanted)
