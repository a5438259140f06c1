"""What goes into an engine: chat messages, prompts, sampling parameters. All of it frozen."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["system", "developer", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Attachment:
    """A part of a message that is not text, such as an image: OpenAI's content part, as JSON.

    `at` is where in the message's text it stands, in characters.
    """

    part: str
    at: int = 0


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model wants called; `arguments` is the JSON text it wrote, valid or not."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str = ""
    attachments: tuple[Attachment, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    """In a tool's message: the call that it answers."""

    def wire(self) -> dict[str, Any]:
        """The message as OpenAI's chat API and chat templates have it."""
        message: dict[str, Any] = {"role": self.role, "content": self._parts() if self.attachments else self.content}
        if self.tool_calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in self.tool_calls
            ]
        if self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        return message

    def _parts(self) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        begin = 0
        for attachment in sorted(self.attachments, key=lambda a: a.at):
            if text := self.content[begin : attachment.at]:
                parts.append({"type": "text", "text": text})
            begin = max(begin, attachment.at)
            parts.append(json.loads(attachment.part))
        if text := self.content[begin:]:
            parts.append({"type": "text", "text": text})
        return parts


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an engine completes: messages, optionally with the beginning of the reply; or bare text; or token ids.

    `prefix` is text the assistant's turn already starts with; the completion continues it and does not repeat it.
    `text` is continued as it is, without a chat template. `token_ids` replaces all else: training needs ids, because
    re-tokenising decoded text can change them. `tools` is OpenAI's array of tools as JSON, `tool_choice` its value as
    JSON; both are empty where the caller has none.
    """

    messages: tuple[Message, ...] = ()
    prefix: str = ""
    token_ids: tuple[int, ...] | None = None
    text: str | None = None
    tools: str = ""
    tool_choice: str = ""

    def digest(self) -> str:
        """A short fingerprint, by which a replayed step proves that it answers this prompt."""
        pieces = [m.wire() for m in self.messages]
        more = [part for part in (self.text, self.tools, self.tool_choice) if part]
        text = json.dumps([pieces, self.prefix, self.token_ids, *more], ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw a completion; every field has the meaning that it has in the OpenAI and vLLM APIs.

    With `n` completions of one prompt, completion i is drawn with `seed + i`. `logprobs` is None (none wanted) or the
    number of alternatives wanted beside each chosen token. `structure` is an OpenAI `response_format` object as JSON,
    empty for free text. A smaller `priority` is served earlier by engines that know priorities.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: int | None = None
    n: int = 1
    structure: str = ""
    priority: int = 0
