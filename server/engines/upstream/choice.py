"""One completion of an upstream's reply while it grows. Rule: what an upstream sends is checked before it is used."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Literal

import orjson

from decoders.core.engine import Chunk, Finish, TokenLogprob
from decoders.core.errors import EngineError
from decoders.core.messages import ToolCall

_FINISHES: Mapping[str, Finish] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
_FAILED = frozenset({"abort", "error", "insufficient_system_resource"})

_Channel = Literal["text", "reasoning"]


class Choice:
    """Gathers what arrives together into as few chunks as possible, and counts."""

    def __init__(self, index: int, *, thinking: bool) -> None:
        self.finish: Finish | None = None
        self.begun = self.counted = self.closed = False
        """`counted` says that the host counts this completion while it grows."""
        self._index, self._thinking = index, thinking
        self._prompt_tokens = self._cached_tokens = 0
        self._reasoning_tokens: int | None = None
        self._thought = False
        self._total = 0
        """Tokens in the chunks so far."""
        self._missing = 0
        """What the last chunk adds to them."""
        self._calls: dict[int, dict[str, str]] = {}
        self._ready: list[Chunk] = []
        self._channel: _Channel = "text"
        self._texts: list[str] = []
        self._ids: list[int] = []
        self._logprobs: list[TokenLogprob] = []
        self._tokens = 0

    def take(self, found: Mapping[str, Any], usage: Mapping[str, Any] | None) -> None:
        """One choice of one event; `usage` where it counts this choice up to here."""
        if self.closed:
            raise ValueError("a completion goes on after its end")
        delta = found.get("delta") or found.get("message") or {}
        pieces, calls = _pieces(found, delta), delta.get("tool_calls")
        for channel, text in pieces:
            self._add(channel, text)
        if calls:
            self._tools(calls)
        ids = _ids(found.get("token_ids"))
        self._ids += ids
        if logprobs := found.get("logprobs"):
            self._logprobs += _logprobs(logprobs, ids)
        self._count(usage, len(ids), 1 if pieces or calls else 0)
        reason = found.get("finish_reason")
        if reason is not None:
            if reason in _FAILED:
                raise EngineError(f"the upstream ended a completion with {reason!r}")
            self.finish = _FINISHES.get(str(reason), "tool_calls" if self._calls else "stop")

    def settle(self, usage: Mapping[str, Any]) -> None:
        """The usage of the call, of which this is the only completion."""
        self._missing = count(usage["completion_tokens"]) - self._total
        self._prompt_tokens = count(usage.get("prompt_tokens") or 0)
        details = usage.get("prompt_tokens_details") or {}
        self._cached_tokens = count(details.get("cached_tokens") or usage.get("prompt_cache_hit_tokens") or 0)
        reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
        # some servers say 0 because they do not count what they have separated
        self._reasoning_tokens = None if reasoning is None or (not reasoning and self._thought) else count(reasoning)

    def flush(self) -> list[Chunk]:
        """Chunks of what has been taken since."""
        if self._texts or self._ids or self._logprobs or self._tokens:
            self._pack()
        ready, self._ready = self._ready, []
        return ready

    def close(self) -> list[Chunk]:
        """The last chunk."""
        self.closed = True
        calls = tuple(
            ToolCall(call["id"] or f"call_{uuid.uuid4().hex[:24]}", call["name"], call["arguments"])
            for _, call in sorted(self._calls.items())
        )
        last = Chunk(
            finish=self.finish,
            index=self._index,
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            thinking=self._thinking,
            tokens=self._missing,
            reasoning_tokens=self._reasoning_tokens,
            tool_calls=calls,
        )
        return [last]

    def _add(self, channel: _Channel, text: str) -> None:
        if self._texts and channel != self._channel:
            self._pack()
        self._channel = channel
        self._texts.append(text)
        self._thought = self._thought or channel == "reasoning"

    def _count(self, usage: Mapping[str, Any] | None, ids: int, guess: int) -> None:
        if ids:
            self.counted, tokens = True, ids
        elif usage is not None:
            self.counted, tokens = True, count(usage["completion_tokens"]) - self._total - self._tokens
        else:
            tokens = 0 if self.counted else guess
        if usage is not None:
            self._prompt_tokens = count(usage.get("prompt_tokens") or 0)
        self._tokens += tokens
        self.begun = self.begun or tokens > 0

    def _tools(self, deltas: Any) -> None:
        for delta in deltas:
            place = delta.get("index")
            call = self._calls.setdefault(
                len(self._calls) if place is None else count(place), {"id": "", "name": "", "arguments": ""}
            )
            function = delta.get("function") or {}
            call["id"] = call["id"] or text_of(delta.get("id"))
            call["name"] += text_of(function.get("name"))
            arguments = function.get("arguments")
            call["arguments"] += orjson.dumps(arguments).decode() if isinstance(arguments, dict) else text_of(arguments)

    def _pack(self) -> None:
        text = "".join(self._texts)
        spoken = self._channel == "text"
        self._ready.append(
            Chunk(
                text=text if spoken else "",
                reasoning="" if spoken else text,
                token_ids=tuple(self._ids),
                logprobs=tuple(self._logprobs),
                index=self._index,
                prompt_tokens=0 if self._total else self._prompt_tokens,
                thinking=self._thinking,
                tokens=self._tokens,
            )
        )
        self._total += len(self._ids) or self._tokens
        self._texts, self._ids, self._logprobs, self._tokens = [], [], [], 0


def count(value: object) -> int:
    """A count as JSON has it. Raises `ValueError` for anything else."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is not a count")
    return value


def text_of(value: object) -> str:
    """A text, empty for null. Raises `ValueError` for anything else."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")
    return value


def _ids(value: object) -> list[int]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError("token_ids is not an array")
    return [count(id) for id in value]


def _pieces(found: Mapping[str, Any], delta: Mapping[str, Any]) -> list[tuple[_Channel, str]]:
    """Reasoning and text of a chat's or a completion's choice; Mistral sends both as parts of the content."""
    content = delta.get("content")
    pieces: list[tuple[_Channel, str]] = []
    if reasoning := text_of(delta.get("reasoning") or delta.get("reasoning_content")):
        pieces.append(("reasoning", reasoning))
    if isinstance(content, list):
        for part in content:
            if part.get("type") == "thinking":
                pieces += [("reasoning", text_of(piece.get("text"))) for piece in part["thinking"]]
            else:
                pieces.append(("text", text_of(part.get("text"))))
    elif text := text_of(content or delta.get("refusal") or found.get("text")):
        pieces.append(("text", text))
    return pieces


def _logprobs(value: Any, ids: list[int]) -> list[TokenLogprob]:
    """Of a chat (`content`) or of a completion (`tokens` and `token_logprobs`)."""
    if (content := value.get("content")) is not None:
        pairs = [(text_of(entry["token"]), _number(entry["logprob"])) for entry in content]
        rivals = [{t["token"]: t["logprob"] for t in entry.get("top_logprobs") or ()} for entry in content]
    else:
        pairs = [(text_of(t), _number(p)) for t, p in zip(value["tokens"], value["token_logprobs"], strict=True)]
        rivals = value.get("top_logprobs") or [{}] * len(pairs)
    tops = [tuple((-1, text_of(text), _number(p)) for text, p in (found or {}).items()) for found in rivals]
    known = ids if len(ids) == len(pairs) else [-1] * len(pairs)
    return [TokenLogprob(id, *pair, top) for id, pair, top in zip(known, pairs, tops, strict=True)]


def _number(value: object) -> float:
    if value is None:
        return float("-inf")
    if not isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a number")
    return float(value)
