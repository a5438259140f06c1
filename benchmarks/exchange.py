"""One request of a load test and its timing, streamed or whole.

Rule: only a complete reply counts: status 200 with choices, and for a stream an end by `[DONE]` without an error event.
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
REASONING = ("reasoning", "reasoning_content")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request does not count: a kind, of which there are few, and what was seen."""

    kind: str
    detail: str = ""


@dataclass(slots=True)
class Sample:
    """What one request came to; times are seconds since it was sent or, in an open loop, since it was due."""

    seconds: float = 0.0
    late: float | None = None
    """In an open loop, how long after it was due it was sent."""
    event: float | None = None
    """The first event of a stream, whatever it carried: a role, progress, text."""
    text: float | None = None
    """The first text, reasoning or answer."""
    answer: list[float] = field(default_factory=list)
    """Every chunk with text of the answer."""
    tokens: int | None = None
    """The server's own count."""
    failure: Failure | None = None


async def exchange(
    connection: Connection, body: bytes, *, stream: bool, limit: float, due: float | None = None
) -> Sample:
    """Send the request and time the reply, for `limit` seconds at most. What the peer does wrong is noted.

    `due` is when it should have been sent, by `time.perf_counter`.
    """
    sent = time.perf_counter()
    began = sent if due is None else due
    sample = Sample(late=None if due is None else sent - due)
    try:
        async with asyncio.timeout(limit), aclosing(connection.post(PATH, body)) as pieces:
            status = await anext(pieces)
            if status != 200:
                said = (await _whole(pieces)).decode(errors="replace")
                sample.failure = Failure(f"HTTP {status!r}", " ".join(said.split())[:120])
            elif stream:
                await _events(pieces, sample, began)
            else:
                _reply(orjson.loads(await _whole(pieces)), sample)
    except TimeoutError:
        sample.failure = Failure(f"no reply within {limit:g} s")
    except (OSError, BadResponse, orjson.JSONDecodeError) as error:
        sample.failure = Failure(type(error).__name__, str(error))
    sample.seconds = time.perf_counter() - began
    return sample


async def _whole(pieces: AsyncIterator[int | bytes]) -> bytes:
    return b"".join([piece async for piece in pieces if isinstance(piece, bytes)])


def _reply(reply: Any, sample: Sample) -> None:
    if not isinstance(reply, dict) or not reply.get("choices"):
        sample.failure = Failure("a reply without choices", orjson.dumps(reply)[:120].decode())
        return
    sample.tokens = _tokens(reply)


async def _events(pieces: AsyncIterator[int | bytes], sample: Sample, began: float) -> None:
    held, done = b"", False
    async for piece in pieces:
        assert isinstance(piece, bytes)
        now = time.perf_counter() - began
        *lines, held = (held + piece).split(b"\n")
        for data in _data(lines):
            done = done or data == b"[DONE]"
            if data != b"[DONE]":
                _take(orjson.loads(data), sample, now)
    if not done and sample.failure is None:
        sample.failure = Failure("the stream ended without [DONE]")


def _data(lines: list[bytes]) -> Iterator[bytes]:
    return (line[5:].strip() for line in lines if line.startswith(b"data:"))


def _take(event: Any, sample: Sample, now: float) -> None:
    if not isinstance(event, dict) or "error" in event:
        sample.failure = Failure("error in the stream", orjson.dumps(event)[:120].decode())
        return
    if sample.event is None:
        sample.event = now
    for choice in event.get("choices") or ():
        delta = choice.get("delta") or {}
        if delta.get("content"):
            sample.answer.append(now)
        if sample.text is None and (delta.get("content") or any(delta.get(name) for name in REASONING)):
            sample.text = now
    sample.tokens = _tokens(event) or sample.tokens


def _tokens(reply: dict[str, Any]) -> int | None:
    count = (reply.get("usage") or {}).get("completion_tokens")
    return count if isinstance(count, int) else None
