"""Collects the chunks of one completion: splits thinking from answer, counts tokens, and makes the `Completion`."""

from __future__ import annotations

from decoders.core.engine import Chunk, Finish, TokenLogprob
from decoders.core.events import Delta
from decoders.core.thinking import Channel, ThinkingSplitter
from decoders.core.trace import Completion


class Recorder:
    """One completion while it grows."""

    def __init__(self, key: str, role: str, *, final: bool) -> None:
        self.key, self.role, self.final = key, role, final
        self.finish: Finish | None = None
        self._splitter: ThinkingSplitter | None = None
        self._text: list[str] = []
        self._sides: dict[Channel, list[str]] = {"reasoning": [], "answer": []}
        self._token_ids: list[int] = []
        self._logprobs: list[TokenLogprob] = []
        self._prompt_tokens = self._cached_tokens = self._answer_tokens = 0

    @property
    def tokens(self) -> int:
        """Tokens generated so far."""
        return len(self._token_ids)

    def feed(self, chunk: Chunk) -> list[Delta]:
        """Take a chunk and return what there is to show of it."""
        if self._splitter is None:
            self._splitter = ThinkingSplitter(inside=chunk.thinking)
            self._prompt_tokens, self._cached_tokens = chunk.prompt_tokens, chunk.cached_tokens
        before = self._splitter.channel
        pieces = self._splitter.feed(chunk.text)
        if chunk.finish is not None:
            pieces += self._splitter.finish()
            self.finish = chunk.finish
        self._text.append(chunk.text)
        self._token_ids += chunk.token_ids
        self._logprobs += chunk.logprobs
        if self._splitter.channel == "reasoning":
            self._answer_tokens = 0
        elif before == "answer":
            self._answer_tokens += len(chunk.token_ids)
        return self._deltas(pieces, len(chunk.token_ids))

    def completion(self) -> Completion:
        """The completion as far as it has come; one that was cut from outside counts as `length`."""
        return Completion(
            text="".join(self._text),
            reasoning="".join(self._sides["reasoning"]),
            answer="".join(self._sides["answer"]),
            token_ids=tuple(self._token_ids),
            logprobs=tuple(self._logprobs),
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            completion_tokens=len(self._token_ids),
            answer_tokens=self._answer_tokens,
            finish=self.finish or "length",
        )

    def _deltas(self, pieces: list[tuple[Channel, str]], tokens: int) -> list[Delta]:
        deltas = []
        for channel, text in pieces:
            self._sides[channel].append(text)
            deltas.append(Delta(self.key, self.role, channel, text, tokens, self.final))
            tokens = 0
        return deltas
