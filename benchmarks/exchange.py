"""One request of a load test and its timing, streamed or whole.

Rule: only a complete reply counts: status 200, and for a stream an end by `[DONE]` without an error event.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import orjson

from benchmarks.connection import BadResponse, Connection

PATH = "/chat/completions"
TEXT = ("content", "reasoning", "reasoning_content")


@dataclass(slots=True)
class Sample:
    """Seconds since the request was sent; `arrivals` are those of every chunk that carried text."""

    seconds: float = 0.0
    arrivals: list[float] = field(default_factory=list)
    tokens: int | None = None
    """The server's own count."""
    error: str | None = None


async def exchange(connection: Connection, body: bytes, *, stream: bool, limit: float) -> Sample:
    """Send the request and time the reply, for `limit` seconds at most. What the peer does wrong is noted."""
    sample, started = Sample(), time.perf_counter()
    try:
        async with asyncio.timeout(limit), aclosing(connection.post(PATH, body)) as pieces:
            status = await anext(pieces)
            if status != 200:
                sample.error = f"HTTP {status!r}: {(await _whole(pieces))[:120].decode(errors='replace')}"
            elif stream:
                await _events(pieces, sample, started)
            else:
                sample.tokens = _tokens(orjson.loads(await _whole(pieces)))
    except TimeoutError:
        sample.error = f"no reply within {limit:g} s"
    except (OSError, BadResponse, orjson.JSONDecodeError) as error:
        sample.error = f"{type(error).__name__}: {error}"
    sample.seconds = time.perf_counter() - started
    return sample


async def _whole(pieces: AsyncIterator[int | bytes]) -> bytes:
    return b"".join([piece async for piece in pieces if isinstance(piece, bytes)])


async def _events(pieces: AsyncIterator[int | bytes], sample: Sample, started: float) -> None:
    held, done = b"", False
    async for piece in pieces:
        assert isinstance(piece, bytes)
        now = time.perf_counter() - started
        *lines, held = (held + piece).split(b"\n")
        for data in _data(lines):
            done = done or data == b"[DONE]"
            if data != b"[DONE]":
                _take(orjson.loads(data), sample, now)
    if not done and sample.error is None:
        sample.error = "the stream ended without [DONE]"


def _data(lines: list[bytes]) -> Iterator[bytes]:
    return (line[5:].strip() for line in lines if line.startswith(b"data:"))


def _take(event: Any, sample: Sample, now: float) -> None:
    if "error" in event:
        sample.error = f"error in the stream: {orjson.dumps(event['error'])[:120].decode()}"
    for choice in event.get("choices") or ():
        delta = choice.get("delta") or {}
        if any(delta.get(name) for name in TEXT):
            sample.arrivals.append(now)
    sample.tokens = _tokens(event) or sample.tokens


def _tokens(reply: Any) -> int | None:
    usage = (reply.get("usage") if isinstance(reply, dict) else None) or {}
    count = usage.get("completion_tokens")
    return count if isinstance(count, int) else None
