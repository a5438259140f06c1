"""What is sent: a prompt and its sampling as the JSON body of one call, in the words of a host's dialect.

Rule: whatever a dialect has no word for is refused by name, never left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from decoders.core.engine import Feature
from decoders.core.errors import InvalidRequest
from decoders.core.messages import Prompt, Sampling
from server.engines.upstream.dialects import Dialect

CHAT, COMPLETIONS = "/chat/completions", "/completions"

_FIELDS: Mapping[Feature, tuple[str, str]] = {
    "images": ("messages", "images in messages"),
    "logprobs": ("logprobs", "log-probabilities"),
    "prefix": ("messages", "continuing a reply that has begun"),
    "structure": ("response_format", "response formats"),
    "text": ("prompt", "prompts without a chat template"),
    "tools": ("tools", "tools"),
}


@dataclass(frozen=True, slots=True)
class Call:
    """One completion call, or several completions of one prompt in one call, before it is put into a dialect.

    `thinking` says that the prompt ends inside an open thinking block.
    """

    model: str
    prompt: Prompt
    sampling: Sampling
    n: int = 1
    stream: bool = True
    thinking: bool = False

    @property
    def needs(self) -> list[Feature]:
        """What a host must be able to do."""
        prompt, sampling = self.prompt, self.sampling
        wanted: dict[Feature, bool] = {
            "images": any(message.attachments for message in prompt.messages),
            "logprobs": sampling.logprobs is not None,
            "prefix": bool(prompt.prefix),
            "structure": bool(sampling.structure),
            "text": prompt.text is not None,
            "tools": bool(prompt.tools),
        }
        return [feature for feature, needed in wanted.items() if needed]


def check(call: Call, dialect: Dialect) -> None:
    """Raises `InvalidRequest` naming the field for what the dialect cannot express."""
    for feature in call.needs:
        if feature not in dialect.features:
            param, what = _FIELDS[feature]
            raise _unsupported(param, f"{what} are not supported by this upstream ({dialect.name})")
    if call.prompt.token_ids is not None and not dialect.ids_in:
        raise _unsupported("prompt", f"token ids are not supported by this upstream ({dialect.name})")
    if call.n > 1 and not dialect.several:
        raise _unsupported("n", f"several completions of one call are not counted by this upstream ({dialect.name})")
    if dialect.no_top_k is None:
        for name in ("top_k", "min_p"):
            if (value := getattr(call.sampling, name)) not in (0, -1):
                raise _unsupported(name, f"{name} {value} is not supported by this upstream ({dialect.name})")


def _unsupported(param: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, param=param, code="unsupported_parameter")


def render(call: Call, dialect: Dialect, context_length: int, *, priority: bool) -> tuple[str, bytes]:
    """The path below the base URL, and the body."""
    chat = call.prompt.token_ids is None and call.prompt.text is None
    body: dict[str, Any] = {"model": call.model, **dialect.always, **_sampling(call.sampling, dialect, chat)}
    body |= _chat(call, dialect) if chat else {"prompt": _bare(call.prompt)}
    limit = call.sampling.max_tokens
    if not (chat and dialect.open_end and limit >= context_length):
        body[dialect.limit if chat else "max_tokens"] = limit
    if call.n > 1:
        body["n"] = call.n
    if call.stream:
        body["stream"] = True
        if dialect.stream_options is not None:
            body["stream_options"] = dialect.stream_options
    if priority and call.sampling.priority:
        body["priority"] = call.sampling.priority
    return CHAT if chat else COMPLETIONS, orjson.dumps(body)


def _sampling(sampling: Sampling, dialect: Dialect, chat: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    if dialect.defaults_of_one:
        fields = {name: value for name, value in fields.items() if value != 1.0}
    if dialect.no_top_k is not None:
        fields["top_k"] = sampling.top_k if sampling.top_k > 0 else dialect.no_top_k
        fields["min_p"] = sampling.min_p
    if sampling.presence_penalty:
        fields["presence_penalty"] = sampling.presence_penalty
    if sampling.frequency_penalty:
        fields["frequency_penalty"] = sampling.frequency_penalty
    if sampling.stop:
        fields["stop"] = sampling.stop
    if sampling.seed is not None and dialect.seed is not None:
        fields[dialect.seed] = sampling.seed
    if sampling.logprobs is not None:
        fields |= {"logprobs": True, "top_logprobs": sampling.logprobs} if chat else {"logprobs": sampling.logprobs}
    if sampling.structure:
        fields["response_format"] = orjson.Fragment(sampling.structure)
    return fields


def _chat(call: Call, dialect: Dialect) -> dict[str, Any]:
    prompt = call.prompt
    body: dict[str, Any] = {"messages": [message.wire() for message in prompt.messages]}
    if prompt.prefix:
        body["messages"].append({"role": "assistant", "content": prompt.prefix, **dialect.continued})
        body |= dialect.continuing
    if prompt.tools:
        body["tools"] = orjson.Fragment(prompt.tools)
    if prompt.tools and prompt.tool_choice:
        body["tool_choice"] = orjson.Fragment(prompt.tool_choice)
    return body


def _bare(prompt: Prompt) -> str | list[int]:
    return list(prompt.token_ids) if prompt.token_ids is not None else prompt.text or ""
