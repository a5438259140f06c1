"""An engine without a model: deterministic replies at a set pace, for tests, demonstrations and load measurements."""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from functools import lru_cache

from decoders.core.engine import Chunk, Feature, Finish, TokenLogprob
from decoders.core.errors import ContextOverflow, EngineUnavailable
from decoders.core.messages import Prompt, Sampling
from server.engines.tool_calls import ToolCallReader

_OPENS, _CLOSES = 1, 2
"""An id's remainder by 4 tells of the thinking block, so that ids alone show whether it is open."""
_WORD = re.compile(r"\s*\S+|\s+$")

Reply = Callable[[Prompt, int], str]
"""What to say to a prompt; the number is the seed of the completion."""


class ScriptedEngine:
    """Speaks replies word by word, one token a word; `<tool_call>` blocks at their end call tools where there are any.

    `replies` is a function of prompt and seed, or texts that are given out in turn. `first_token_delay` and
    `token_delay` are in seconds; with both 0 the engine never sleeps. `open_calls` counts the calls in progress.
    With `words` and no `replies` every reply has that many. `certainty` is the probability that it pretends each word
    to have had, between 0 and 1.
    """

    def __init__(
        self,
        replies: Reply | Sequence[str] | None = None,
        *,
        model: str = "scripted",
        first_token_delay: float = 0.0,
        token_delay: float = 0.0,
        context_length: int = 131_072,
        words: int | None = None,
        certainty: Callable[[str], float] | None = None,
    ) -> None:
        self.model = model
        self.context_length = context_length
        self.features: frozenset[Feature] = frozenset(
            {"images", "logprobs", "prefix", "text", "token_ids", "tool_choice", "tools"}
        )
        self.calls = 0
        self.open_calls = 0
        self._delays = (first_token_delay, token_delay)
        self._closed = False
        self._certainty = certainty or _certainty
        self._words: dict[int, str] = {}
        replies = replies or (None if words is None else [" ".join(["word"] * words)])
        self._reply: Reply = replies if callable(replies) else self._in_turn(replies) if replies else _echo

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        """Word after word of each of the `n` replies in turn."""
        if self._closed:
            raise EngineUnavailable(f"{self.model} is closed")
        size = await self.count(prompt)
        room = self.context_length - size
        if room < 1:
            message = f"{size} prompt tokens leave no room for a completion in the context of {self.context_length}"
            raise ContextOverflow(message, param="messages")
        sampling = replace(sampling, max_tokens=min(sampling.max_tokens, room))
        marks = (id % 4 for id in reversed(prompt.token_ids or ()) if id % 4)
        thinking = next(marks, _CLOSES) == _OPENS
        self.calls += 1
        self.open_calls += 1
        try:
            for index in range(sampling.n):
                reply = self._reply(prompt, (sampling.seed or 0) + index)
                reader = ToolCallReader(prompt, sampling, index) if prompt.tools else None
                async for chunk in self._speak(reply, size, index, sampling):
                    chunk = replace(chunk, thinking=thinking) if thinking else chunk
                    yield reader.read(chunk) if reader else chunk
        finally:
            self.open_calls -= 1

    async def count(self, prompt: Prompt) -> int:
        """Words of the prompt."""
        return len(await self.tokenize(prompt))

    async def tokenize(self, prompt: Prompt, *, special: bool = False, opened: bool = True) -> tuple[int, ...]:
        """An id for each word; roles have none."""
        if prompt.token_ids is not None:
            return prompt.token_ids
        texts = [m.content for m in prompt.messages] if prompt.text is None else [prompt.text]
        return tuple(self._id(word) for text in (*texts, prompt.prefix) for word in _WORD.findall(text))

    async def detokenize(self, ids: Sequence[int]) -> str:
        """The words of these ids, where this engine has read or said them."""
        return "".join(self._words.get(id, "") for id in ids)

    async def ready(self) -> bool:
        """True until it is closed."""
        return not self._closed

    async def aclose(self) -> None:
        """Refuse further calls."""
        self._closed = True

    async def _speak(self, reply: str, size: int, index: int, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        words = _words(_until_stop(reply, sampling.stop))
        last = min(len(words), sampling.max_tokens) - 1
        for i, word in enumerate(words[: last + 1]):
            if delay := self._delays[0 if i == 0 else 1]:
                await asyncio.sleep(delay)
            finish: Finish | None = None if i < last else "stop" if last == len(words) - 1 else "length"
            logprobs = () if sampling.logprobs is None else (self._logprob(word, sampling.logprobs),)
            yield Chunk(word, (self._id(word),), logprobs, finish, index, prompt_tokens=size if i == 0 else 0)

    def _id(self, word: str) -> int:
        opens, closes = word.rfind("<think>"), word.rfind("</think>")
        mark = 0 if opens == closes else _OPENS if opens > closes else _CLOSES
        token = 4 * int.from_bytes(hashlib.blake2b(word.encode(), digest_size=3).digest()) + mark
        self._words[token] = word
        return token

    def _logprob(self, word: str, count: int) -> TokenLogprob:
        """The word with its certainty; its rivals share the rest."""
        token, sure = self._id(word), self._certainty(word)
        rest = math.log((1 - sure) / max(count - 1, 1))
        top = ((token, word, math.log(sure)), *((-i, f"rival {i}", rest) for i in range(1, count)))
        return TokenLogprob(token, word, math.log(sure), top[:count])

    def _in_turn(self, replies: Sequence[str]) -> Reply:
        return lambda prompt, seed: replies[min(self.calls - 1, len(replies) - 1)]


def _until_stop(reply: str, stop: Sequence[str]) -> str:
    places = [reply.find(text) for text in stop if text and text in reply]
    return reply[: min(places)] if places else reply


@lru_cache(maxsize=64)
def _words(reply: str) -> tuple[str, ...]:
    """The reply's tokens, kept: in load measurements thousands of calls say the same at once."""
    return tuple(_WORD.findall(reply)) or ("",)


def _certainty(word: str) -> float:
    return 0.1 + 0.8 * hashlib.blake2b(word.encode()).digest()[0] / 255


def _echo(prompt: Prompt, seed: int) -> str:
    """A reply that depends on the prompt and the seed alone."""
    last = prompt.messages[-1].content if prompt.messages else ""
    return f"<think>I was asked {len(last.split())} words, seed {seed}.</think>You said: {last[:200]}"
