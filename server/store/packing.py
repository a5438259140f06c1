"""Several byte strings in one, for stores that keep a field of them. Rule: what comes out is what went in, exactly."""

from __future__ import annotations

from collections.abc import Sequence

import orjson


def pack(items: Sequence[bytes]) -> bytes:
    """Their lengths, a line feed, then all of them."""
    return orjson.dumps([len(item) for item in items]) + b"\n" + b"".join(items)


def unpack(data: bytes) -> tuple[bytes, ...]:
    """The byte strings of `pack`."""
    head, _, rest = data.partition(b"\n")
    found, start = [], 0
    for length in orjson.loads(head):
        found.append(rest[start : start + length])
        start += length
    return tuple(found)
