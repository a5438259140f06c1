"""Prompts to vLLM's inputs, by vLLM's own renderer. Rule: for text the ids are those of the embedded engine.

The renderer, and not our tokenizer, because it knows the models that have no `tokenizer.json`, images, tools, and the
formats that are no template at all. A reply that has begun is the rendered text with the beginning behind it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm.renderers.params import ChatParams

from decoders.core.errors import InvalidRequest
from decoders.core.messages import Prompt
from decoders.core.thinking import CLOSE, OPEN
from server.engines.opening import opened_by_ids, opened_by_text


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt as vLLM takes it; `thinking` says that it ends inside an open thinking block."""

    input: Mapping[str, Any]
    thinking: bool

    @property
    def ids(self) -> list[int]:
        """The prompt's tokens, those of images included."""
        found: list[int] = self.input["prompt_token_ids"]
        return found


class Renderer:
    """The chat template and tokenizer of a served model."""

    def __init__(self, llm: Any, front_end: Any) -> None:
        self._renderer = llm.renderer
        self.images: bool = llm.model_config.is_multimodal_model
        self.tokenizer = self._renderer.get_tokenizer()
        self.template_options: dict[str, Any] = dict(front_end.default_chat_template_kwargs or {})
        self._template = _read(front_end.chat_template)
        self._format = front_end.chat_template_content_format
        # Without a limit, so that a prompt that is too long is counted and not cut.
        self._tokenizing = dataclasses.replace(self._renderer.default_chat_tok_params, max_total_tokens=None)
        self._size: int = llm.model_config.get_vocab_size()
        words = self.tokenizer.get_vocab()
        self._marks = (words.get(OPEN), words.get(CLOSE))

    async def render(self, prompt: Prompt, *, special: bool = False, opened: bool = True) -> Rendered:
        """Raises `InvalidRequest` for what the template refuses; vLLM's errors are let through.

        `special` and `opened` are as in `Tokenizing`.
        """
        if prompt.token_ids is not None:
            if not prompt.token_ids:
                raise InvalidRequest("a prompt needs at least one token", param="prompt")
            raw: dict[str, Any] = {"prompt_token_ids": list(prompt.token_ids)}
            return Rendered(await self._tokenized(raw, special), opened_by_ids(prompt.token_ids, *self._marks))
        raw = {"prompt": prompt.text} if prompt.text is not None else await self._templated(prompt, opened)
        done = await self._tokenized(raw, special)
        thinking = opened_by_text(raw["prompt"], prompt) if "prompt" in raw else False
        if not done["prompt_token_ids"]:
            raise InvalidRequest("a prompt needs at least one token", param="prompt")
        return Rendered(done, thinking)

    def text(self, ids: Sequence[int]) -> str:
        """The text of these ids, special tokens included. Raises `InvalidRequest` for an id that does not exist."""
        if not ids or min(ids) < 0 or max(ids) >= self._size:
            raise InvalidRequest(f"token ids are from 0 to {self._size - 1}, and at least one", param="tokens")
        found: str = self.tokenizer.decode(list(ids), skip_special_tokens=False)
        return found

    async def _tokenized(self, raw: Mapping[str, Any], special: bool) -> Mapping[str, Any]:
        how = dataclasses.replace(self._tokenizing, add_special_tokens=special)
        (done,) = await self._renderer.render_cmpl_async([raw], how)
        found: Mapping[str, Any] = done
        return found

    async def _templated(self, prompt: Prompt, opened: bool) -> dict[str, Any]:
        if not self.images and any(message.attachments for message in prompt.messages):
            raise InvalidRequest("this model takes text only", param="messages", code="unsupported_content")
        wanted = {"tools": json.loads(prompt.tools) if prompt.tools else None, "tokenize": False}
        parameters = ChatParams(
            chat_template=self._template,
            chat_template_content_format=self._format,
            chat_template_kwargs={**self.template_options, "add_generation_prompt": opened, **wanted},
        )
        try:
            _, raw = await self._renderer.render_messages_async([m.wire() for m in prompt.messages], parameters)
        except (ValueError, TypeError, LookupError) as error:
            raise InvalidRequest(f"the chat template refused the messages: {error}", param="messages") from error
        raw = dict(raw)
        if "prompt" in raw:
            raw["prompt"] += prompt.prefix
        elif prompt.prefix:
            # Some renderers make ids at once.
            tail = self.tokenizer.encode(prompt.prefix, add_special_tokens=False)
            raw["prompt_token_ids"] = [*raw["prompt_token_ids"], *tail]
        return raw


def _read(template: str | None) -> str | None:
    from vllm.renderers.chat_utils import load_chat_template

    found: str | None = load_chat_template(template)
    return found
