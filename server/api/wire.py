"""Chat completions on the wire: the request as a pydantic model, the responses as plain objects for orjson.

Rule: the responses follow OpenAI's schema to the letter and keep what is ours under `longthink`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from decoders.core.engine import TokenLogprob
from decoders.core.errors import InvalidRequest
from decoders.core.messages import ToolCall
from decoders.core.structure import check
from decoders.core.trace import Completion, Usage
from server.api.fields import EnvironmentField, Items, StopField, StructureField, Wire
from server.api.messages import MessageIn, begun
from server.api.request import Flag, Sampled
from server.api.tools import ToolChoice, ToolChoiceField, ToolIn, offered
from server.budgets import Effort
from server.service import Ask

LEAST_LOGPROB = -9999.0
"""OpenAI's floor, where the logarithm is minus infinity and JSON has no number for it."""


class StreamOptions(Wire):
    """How to stream."""

    include_usage: Flag = None
    """Send a last chunk with the usage and no choices."""
    continuous_usage_stats: Flag = None
    """vLLM's, with include_usage: every other chunk has the usage of the steps that have ended."""
    include_obfuscation: Flag = None
    """Accepted and not used."""


class ChatRequest(Sampled):
    """A chat completion request: OpenAI's fields, those of vLLM in common use, and `decoder`."""

    messages: Annotated[list[MessageIn], Items] = Field(min_length=1)
    """The conversation; its last message is the user's question, or a tool's result."""
    continue_final_message: Flag = None
    """Continue the last message, which is the assistant's; only the decoder `direct` can. The reply is the rest."""
    add_generation_prompt: Flag = None
    """False goes with continue_final_message, and is not needed."""
    stream_options: StreamOptions | None = None
    n: int | None = Field(default=None, ge=1, le=8)
    """Independent answers; the request's budget is split among them equally."""
    max_completion_tokens: int | None = Field(default=None, ge=1)
    """Tokens that may be generated for this request, all steps and choices together."""
    max_tokens: int | None = Field(default=None, ge=1)
    """The older name of max_completion_tokens."""
    reasoning_effort: Effort | None = None
    """A share of the server's largest budget; together with max_completion_tokens the smaller one counts."""
    thinking_token_budget: int | None = Field(default=None, ge=1)
    """A further limit on what is generated."""
    return_token_ids: Flag = None
    """Add the `token_ids` of each choice, thinking included, and the `prompt_token_ids`; the decoder is `direct`."""
    include_reasoning: Flag = None
    """Whether the reasoning is sent; it is by default."""
    include_steps: Flag = None
    """Ours: the stream tells the end of each step as well, with its tokens and its answer or verdict."""
    background: Flag = None
    """Ours: return at once and go on without a client; ask for the answer under the completion's id."""
    webhook_url: str | None = Field(default=None, max_length=2000)
    """Ours: told of the end of a run in the background; the operator lists the hosts that it may lead to."""
    allow_training: Flag = None
    """Ours: what comes of it may be learned from; the run is then kept like one in the background."""
    stop: StopField = ()
    logprobs: Flag = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    tools: list[ToolIn] | None = Field(default=None, max_length=128)
    """Functions that the reply may call."""
    tool_choice: ToolChoiceField = ToolChoice()
    """auto, none, required, or a function that must be called."""
    parallel_tool_calls: Flag = None
    """Whether the reply may make several calls; it may by default."""
    response_format: StructureField = ""
    """Free text, any JSON object, or JSON of a schema."""
    answer_format: str | None = Field(default=None, min_length=1)
    """Ours: one of the answer formats of the model's template pack, such as boxed, choice, code or text."""
    environment: EnvironmentField = None
    """Ours: one of the server's environments to act in, or an object of its name and `reset`; see /v1/environments."""
    metadata: dict[str, Any] | None = None
    """Accepted and not used, as are all fields below."""
    user: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    verbosity: str | None = None

    def ask(self) -> Ask:
        """The same in the service's terms. Raises `InvalidRequest` where fields do not fit together."""
        limit, param = self._limit()
        if self.response_format:
            check(self.response_format)
        tools, tool_choice = offered(self.tools or (), self.tool_choice)
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest("stream_options is only allowed with stream: true", param="stream_options")
        if self.add_generation_prompt is False and not self.continue_final_message:
            message = "add_generation_prompt: false is only allowed with continue_final_message: true"
            raise InvalidRequest(message, param="add_generation_prompt")
        messages, prefix = begun(self.messages, self.continue_final_message, self.add_generation_prompt)
        return Ask(
            model=self.model,
            messages=messages,
            prefix=prefix,
            decoder=self.decoder.name,
            options=self.decoder.options,
            max_tokens=limit,
            max_tokens_param=param,
            effort=self.reasoning_effort,
            thinking_cap=self.thinking_token_budget,
            sampling=self.sampling(
                stop=self.stop or None, logprobs=self._logprobs(), structure=self.response_format or None
            ),
            tools=tools,
            tool_choice=tool_choice,
            parallel_tool_calls=self.parallel_tool_calls is not False,
            answer_format=self.answer_format or "",
            environment=self.environment,
            deadline=self.deadline_seconds,
            seed=self.seed,
            n=self.n or 1,
            steps=bool(self.include_steps),
        )

    def check_durable(self) -> None:
        """Raises `InvalidRequest` for what a run that outlives its request cannot give."""
        if self.return_token_ids:
            message = (
                "return_token_ids is not supported for a run that is kept: background, allow_training, idempotency"
            )
            raise InvalidRequest(message, param="return_token_ids", code="unsupported_parameter")
        if self.stream_options and self.stream_options.continuous_usage_stats:
            # a reader who comes later sees the same bytes, and the log knows the usage only at its end
            message = "continuous_usage_stats is not supported in the background or with an idempotency key"
            raise InvalidRequest(message, param="stream_options", code="unsupported_parameter")

    def _limit(self) -> tuple[int | None, str]:
        if self.max_completion_tokens is None:
            return self.max_tokens, "max_tokens"
        if self.max_tokens not in (None, self.max_completion_tokens):
            raise InvalidRequest("max_tokens and max_completion_tokens differ: send one of them", param="max_tokens")
        return self.max_completion_tokens, "max_completion_tokens"

    def _logprobs(self) -> int | None:
        if self.logprobs:
            return self.top_logprobs or 0
        if self.top_logprobs is not None:
            raise InvalidRequest("top_logprobs is only allowed with logprobs: true", param="top_logprobs")
        return None


def usage_object(usage: Usage) -> dict[str, Any]:
    """OpenAI's usage: completion tokens are all that was generated, reasoning tokens are among them."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def logprobs_object(completion: Completion | None, wanted: bool) -> dict[str, Any] | None:
    """Log-probabilities of the answer's tokens, those of the thinking block left out."""
    if not wanted or completion is None:
        return None
    shown = completion.logprobs[len(completion.logprobs) - completion.answer_tokens :]
    return {"content": [_token(entry) for entry in shown], "refusal": None}


def _token(entry: TokenLogprob) -> dict[str, Any]:
    rivals = [_rival(text, logprob) for _, text, logprob in entry.top]
    return {**_rival(entry.text, entry.logprob), "top_logprobs": rivals}


def _rival(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": max(logprob, LEAST_LOGPROB), "bytes": list(text.encode("utf-8", "replace"))}


def completion_object(head: Mapping[str, Any], choices: list[dict[str, Any]], usage: Usage) -> dict[str, Any]:
    """A whole response."""
    return {**head, "object": "chat.completion", "choices": choices, "usage": usage_object(usage)}


def message_object(completion: Completion | None, reasoning: str, *, alias: bool) -> dict[str, Any]:
    """The assistant's message of a choice."""
    text = completion.content if completion else ""
    calls = completion.tool_calls if completion else ()
    message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else "")}
    message |= {"refusal": None, "annotations": []}
    if calls:
        message["tool_calls"] = [tool_call_object(call) for call in calls]
    if reasoning:
        message["reasoning"] = reasoning
        if alias:
            message["reasoning_content"] = reasoning
    return message


def tool_call_object(call: ToolCall) -> dict[str, Any]:
    """A call that the client is asked to make."""
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
