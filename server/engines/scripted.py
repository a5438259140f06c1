"""An engine without a model: deterministic replies at a set pace, for tests, demonstrations and load measurements."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace

from decoders.core.engine import Chunk, Feature, Finish, TokenLogprob
from decoders.core.errors import ContextOverflow, EngineUnavailable
from decoders.core.messages import Prompt, Sampling
from server.engines.tool_calls import ToolCallReader

_WORD = re.compile(r"\s*\S+|\s+$")

Reply = Callable[[Prompt, int], str]
"""What to say to a prompt; the number is the seed of the completion."""


class ScriptedEngine:
    """Speaks replies word by word, one token a word; `<tool_call>` blocks at their end call tools where there are any.

    `replies` is a function of prompt and seed, or texts that are given out in turn. `first_token_delay` and
    `token_delay` are in seconds; with both 0 the engine never sleeps. `open_calls` counts the calls in progress.
    """

    def __init__(
        self,
        replies: Reply | Sequence[str] | None = None,
        *,
        model: str = "scripted",
        first_token_delay: float = 0.0,
        token_delay: float = 0.0,
        context_length: int = 131_072,
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
        self.calls += 1
        self.open_calls += 1
        try:
            for index in range(sampling.n):
                reply = self._reply(prompt, (sampling.seed or 0) + index)
                reader = ToolCallReader(prompt, sampling, index) if prompt.tools else None
                async for chunk in self._speak(reply, size, index, sampling):
                    yield reader.read(chunk) if reader else chunk
        finally:
            self.open_calls -= 1

    async def count(self, prompt: Prompt) -> int:
        """Words of the prompt."""
        if prompt.token_ids is not None:
            return len(prompt.token_ids)
        if prompt.text is not None:
            return len(_WORD.findall(prompt.text))
        return sum(len(_WORD.findall(m.content)) for m in prompt.messages) + len(_WORD.findall(prompt.prefix))

    async def ready(self) -> bool:
        """True until it is closed."""
        return not self._closed

    async def aclose(self) -> None:
        """Refuse further calls."""
        self._closed = True

    async def _speak(self, reply: str, size: int, index: int, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        reply, stopped = _until_stop(reply, sampling.stop)
        words = _WORD.findall(reply) or [""]
        last = min(len(words), sampling.max_tokens) - 1
        for i, word in enumerate(words[: last + 1]):
            if delay := self._delays[0 if i == 0 else 1]:
                await asyncio.sleep(delay)
            finish: Finish | None = None if i < last else "stop" if last == len(words) - 1 or stopped else "length"
            token = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=3).digest())
            logprobs = () if sampling.logprobs is None else (TokenLogprob(token, word, 0.0),)
            yield Chunk(word, (token,), logprobs, finish, index, prompt_tokens=size if i == 0 else 0)

    def _in_turn(self, replies: Sequence[str]) -> Reply:
        return lambda prompt, seed: replies[min(self.calls - 1, len(replies) - 1)]


def _until_stop(reply: str, stop: Sequence[str]) -> tuple[str, bool]:
    places = [reply.find(text) for text in stop if text and text in reply]
    return (reply[: min(places)], True) if places else (reply, False)


def _echo(prompt: Prompt, seed: int) -> str:
    """A reply that depends on the prompt and the seed alone."""
    last = prompt.messages[-1].content if prompt.messages else ""
    return f"<think>I was asked {len(last.split())} words, seed {seed}.</think>You said: {last[:200]}"
