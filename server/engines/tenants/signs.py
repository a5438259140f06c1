"""The sign vector v of SIFT: one sign for each parameter, drawn before any training from a seed that all may know.

Rule: a sign depends on the seed, the tensor's name and the place in it, on nothing else; so v is never stored, and a
tensor's signs can be had without those of the others.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Signs = NDArray[np.bool_]


def signs(seed: int, name: str, shape: tuple[int, ...]) -> Signs:
    """True for +1. Bits of Philox, a counter-based generator whose stream numpy keeps, under a key of seed and name."""
    key = np.frombuffer(hashlib.sha256(f"longthink sift v1/{seed}/{name}".encode()).digest()[:16], "<u8")
    size = int(np.prod(shape, dtype=np.int64))
    words = np.random.Philox(key=key).random_raw(-(-size // 64)).astype("<u8")
    return np.unpackbits(words.view(np.uint8), count=size).astype(np.bool_).reshape(shape)
