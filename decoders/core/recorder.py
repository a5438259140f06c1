"""Collects the chunks of one completion: splits thinking from answer, counts tokens, and makes the `Completion`."""

from __future__ import annotations

from dataclasses import replace

from decoders.core.engine import Chunk, Finish, TokenLogprob
from decoders.core.events import Delta
from decoders.core.messages import ToolCall
from decoders.core.thinking import CLOSE, OPEN, Channel, ThinkingSplitter
from decoders.core.trace import Completion


class Recorder:
    """One completion while it grows; a `raw` one is all answer.

    `prefix` is what its text continues. With `confidence` each token's confidence over so many alternatives is kept,
    and of these only `shown`, none for None: those of long samples would fill the memory.
    """

    def __init__(
        self,
        key: str,
        role: str,
        *,
        final: bool,
        raw: bool = False,
        prefix: str = "",
        confidence: int = 0,
        shown: int | None = None,
    ) -> None:
        self.key, self.role, self.final = key, role, final
        self._prefix, self._confidence, self._shown = prefix, confidence, shown
        self._confidences: list[float] = []
        self.finish: Finish | None = None
        self.tokens = 0
        """Tokens generated so far."""
        self._splitter: ThinkingSplitter | None = None
        self._text: list[str] = []
        self._sides: dict[Channel, list[str]] = {"reasoning": [], "answer": []}
        self._token_ids: list[int] = []
        self._logprobs: list[TokenLogprob] = []
        self._tool_calls: tuple[ToolCall, ...] = ()
        self._prompt_tokens = self._cached_tokens = self._answer_tokens = 0
        self._separated = False
        self._raw = raw

    def feed(self, chunk: Chunk) -> list[Delta]:
        """Take a chunk and return what there is to show of it."""
        if self._splitter is None:
            self._splitter = ThinkingSplitter(inside=chunk.thinking, raw=self._raw)
            self._splitter.feed(self._prefix)
        if chunk.prompt_tokens:
            self._prompt_tokens, self._cached_tokens = chunk.prompt_tokens, chunk.cached_tokens
        before = self._splitter.channel
        pieces: list[tuple[Channel, str]] = [("reasoning", chunk.reasoning)] if chunk.reasoning else []
        pieces += self._splitter.feed(chunk.text)
        if chunk.finish is not None:
            pieces += self._splitter.finish()
            self.finish, self._tool_calls = chunk.finish, chunk.tool_calls
        self._keep(chunk)
        self.tokens += chunk.size
        if self._splitter.channel == "reasoning":
            self._answer_tokens = 0
        elif before == "answer" and not chunk.reasoning:
            self._answer_tokens += chunk.size
        if chunk.reasoning_tokens is not None:
            self._answer_tokens = self.tokens - chunk.reasoning_tokens
        return self._deltas(pieces, chunk.size)

    def completion(self, *, one_call: bool = False) -> Completion:
        """The completion as far as it has come; one that was cut from outside counts as `length`."""
        return Completion(
            text="".join(self._text),
            reasoning="".join(self._sides["reasoning"]),
            answer="".join(self._sides["answer"]),
            token_ids=tuple(self._token_ids),
            logprobs=tuple(self._logprobs),
            confidences=tuple(self._confidences),
            tool_calls=self._tool_calls[:1] if one_call else self._tool_calls,
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            completion_tokens=self.tokens,
            answer_tokens=max(self._answer_tokens, 0),
            finish=self.finish or "length",
        )

    def _keep(self, chunk: Chunk) -> None:
        """Thinking that came separated is put back where the model wrote it, so that `text` is the same everywhere."""
        if chunk.reasoning:
            self._text.append(chunk.reasoning if self._separated else f"{OPEN}\n{chunk.reasoning}")
            self._separated = True
        if chunk.text:
            self._text.append(f"\n{CLOSE}\n\n{chunk.text}" if self._separated else chunk.text)
            self._separated = False
        self._token_ids += chunk.token_ids
        if not self._confidence:
            self._logprobs += chunk.logprobs
            return
        self._confidences += (token.confidence(self._confidence) for token in chunk.logprobs)
        if self._shown is not None:
            self._logprobs += (replace(token, top=token.top[: self._shown]) for token in chunk.logprobs)

    def _deltas(self, pieces: list[tuple[Channel, str]], tokens: int) -> list[Delta]:
        deltas = []
        for channel, text in pieces:
            self._sides[channel].append(text)
            deltas.append(Delta(self.key, self.role, channel, text, tokens, self.final))
            tokens = 0
        return deltas
