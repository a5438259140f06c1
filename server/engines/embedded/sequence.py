"""One completion inside the engine: its prompt, its progress, and the way to whoever waits for it.

Rule: the engine thread owns a sequence; the event loop only reads what the stream hands over.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque

import numpy as np
from numpy.typing import NDArray

from decoders.core.engine import Chunk, Finish, TokenLogprob
from decoders.core.errors import LongThinkError
from decoders.core.messages import Sampling
from server.engines.embedded.detokenizer import Detokenizer
from server.engines.embedded.sampler import Draw
from server.engines.embedded.tokenizer import ChatTokenizer, Encoded


class Stream:
    """Chunks on their way from the engine thread to one call; a slow reader finds several at once."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.started = False
        """Whether a chunk was made."""
        self._items: deque[Chunk | LongThinkError] = deque()
        self._reader: asyncio.Future[None] | None = None

    def push(self, item: Chunk | LongThinkError) -> None:
        """Called in the loop's thread."""
        self._items.append(item)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def next(self) -> Chunk:
        """The oldest unread chunk; raises the error that ended the call."""
        while not self._items:
            self._reader = self.loop.create_future()
            await self._reader
        item = self._items.popleft()
        if isinstance(item, LongThinkError):
            raise copy.copy(item)  # others may get the same one, and each raising writes into it
        return item


class Sequence:
    """A completion that waits, is being prefilled, or decodes."""

    __slots__ = (
        "_eos",
        "_text",
        "cached",
        "cancelled",
        "draw",
        "finish",
        "generated",
        "index",
        "input",
        "limit",
        "prompt",
        "row",
        "sampling",
        "stream",
        "tenant",
        "thinking",
    )

    def __init__(
        self,
        encoded: Encoded,
        sampling: Sampling,
        index: int,
        limit: int,
        eos: frozenset[int],
        words: ChatTokenizer,
        stream: Stream,
        tenant: str = "",
    ) -> None:
        self.tenant = tenant
        """Whose weights it is computed with; empty for the base's."""
        self.prompt = np.array(encoded.ids, np.int32)
        self.thinking = encoded.thinking
        self.sampling, self.index, self.limit, self.stream = sampling, index, limit, stream
        self.draw = Draw(sampling, index)
        self.row = -1
        """The slot, or -1 outside of one."""
        self.input = encoded.ids[-1]
        """The token that the next decoding step takes."""
        self.cached = self.generated = 0
        self.finish: Finish | None = None
        self.cancelled = False
        self._eos = eos
        self._text = Detokenizer(words.words, sampling.stop, words.unsettled, encoded.before)

    def resume(self, computed: NDArray[np.int32]) -> None:
        """Begin again later where it stands: the tokens `computed`, and the one that the next step would take."""
        self.prompt = np.append(computed, np.int32(self.input))

    def accept(self, id: int, logprobs: tuple[TokenLogprob, ...]) -> Chunk:
        """Take a token that was drawn and make the chunk that tells of it; sets `finish` with the last one."""
        first = self.generated == 0
        self.stream.started = True
        self.generated += 1
        self.input = id
        if self.draw.penalised:
            self.draw.said[id] += 1
        ended = id in self._eos
        # The end mark is counted and recorded, but it is no text even where the tokenizer calls it an ordinary word.
        text = "" if ended else self._text.feed(id)
        if ended or self._text.stopped:
            self.finish = "stop"
        elif self.generated >= self.limit:
            self.finish = "length"
        if self.finish is not None and not self._text.stopped:
            text += self._text.finish()
            if self._text.stopped:
                self.finish = "stop"
        if first:
            size = len(self.prompt)
            return Chunk(text, (id,), logprobs, self.finish, self.index, size, self.cached, self.thinking)
        return Chunk(text, (id,), logprobs, self.finish, self.index)
