"""Continuous batching in the caller's own event loop. Rule: the same calls in the same order give the same bits.

Which sequences share a step decides the last bits of their logits, and a thread would leave that to chance. Here the
model steps only when every coroutine of the loop has come to rest, so the batches depend on the program alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from decoders.core.engine import Chunk
from decoders.core.errors import EngineError, EngineUnavailable, LongThinkError
from server.engines.embedded.backend import Backend
from server.engines.embedded.batcher import Batcher
from server.engines.embedded.sequence import Sequence, Stream
from server.engines.embedded.slots import Slots
from server.engines.embedded.tokenizer import ChatTokenizer

_REST = 12
"""Passes of the loop without a new call after which all coroutines wait; from a result to the next call it takes up to
ten. Too few would make smaller batches, and never other results between two equal runs."""


class Inline(Batcher):
    """`submit` starts the work; a completion arrives as a single chunk when it is complete."""

    def __init__(self, backend: Backend, words: ChatTokenizer, **options: Any) -> None:
        super().__init__(backend, words, **options)
        self.error: EngineError | None = None
        """Why no more calls are taken."""
        self._chunks: dict[tuple[int, int], list[Chunk]] = {}
        self._calls = self._ended = 0
        self._driver: asyncio.Task[None] | None = None

    def submit(self, sequences: list[Sequence]) -> None:
        """Queue the completions of one call; raises `EngineUnavailable` once the engine is closed."""
        if self.error is not None:
            raise EngineUnavailable(str(self.error))
        self._waiting.extend(sequences)
        self._calls += 1
        if self._driver is None or self._driver.done():
            self._driver = asyncio.ensure_future(self._drive())

    def abort(self, sequences: Iterable[Sequence]) -> None:
        """Free what the sequences hold before the next step."""
        for sequence in sequences:
            sequence.cancelled = True
            self._chunks.pop((id(sequence.stream), sequence.index), None)

    def forget(self) -> None:
        """Reuse nothing that was computed until now, because the weights have changed. Only between calls."""
        if self._waiting or self._slots.busy:
            raise EngineError("the weights changed while completions were being generated")
        self._slots = Slots(self._backend, reuse=self._slots.reuse)

    def close(self) -> None:
        """Take no more calls."""
        self.error = EngineUnavailable("the engine is closed")

    async def _drive(self) -> None:
        try:
            while self._waiting or self._slots.busy:
                await self._rest()
                ended = self._ended
                while (self._waiting or self._slots.busy) and self._ended == ended:
                    self._work()
        except Exception as error:
            self.error = EngineError(f"the engine died: {type(error).__name__}: {error}")
            self._end(self.error)
            raise

    async def _rest(self) -> None:
        quiet, seen = 0, self._calls
        while quiet < _REST:
            await asyncio.sleep(0)
            quiet = quiet + 1 if self._calls == seen else 0
            seen = self._calls

    def _post(self, stream: Stream, item: Chunk | LongThinkError) -> None:
        if isinstance(item, LongThinkError):
            stream.push(item)
            return
        key, chunk = (id(stream), item.index), item
        self._chunks.setdefault(key, []).append(chunk)
        if chunk.finish is not None:
            self._ended += 1
            stream.push(_whole(self._chunks.pop(key)))

    def _end(self, error: EngineError) -> None:
        held = [owner for owner in self._slots.owners if owner is not None]
        for stream in {id(sequence.stream): sequence.stream for sequence in [*held, *self._waiting]}.values():
            stream.push(error)


def _whole(chunks: list[Chunk]) -> Chunk:
    first, last = chunks[0], chunks[-1]
    return Chunk(
        "".join(chunk.text for chunk in chunks),
        tuple(id for chunk in chunks for id in chunk.token_ids),
        tuple(detail for chunk in chunks for detail in chunk.logprobs),
        last.finish,
        first.index,
        first.prompt_tokens,
        first.cached_tokens,
        first.thinking,
    )
