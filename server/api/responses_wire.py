"""POST /v1/responses on the wire: the request as a pydantic model, and what of it the response repeats."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

from decoders.core.errors import InvalidRequest
from decoders.core.messages import Message
from decoders.core.structure import check
from server.api import tools as chat_tools
from server.api.fields import EnvironmentField, Items, StopField, Wire
from server.api.request import Flag, Sampled
from server.api.responses_items import Item, turns
from server.api.responses_mcp import McpIn, chosen
from server.api.tools import ToolChoice, offered
from server.api.turns import Turn, conversation
from server.budgets import Effort
from server.service import Ask

LOGPROBS = "message.output_text.logprobs"
Include = Literal["message.output_text.logprobs", "reasoning.encrypted_content", "message.input_image.image_url"]


class ToolIn(Wire):
    """A function that the model may call."""

    type: Literal["function"]
    name: str = Field(pattern=chat_tools.NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    """A JSON Schema."""
    strict: Flag = None
    """Whether arguments must be valid under the parameters."""

    def chat(self) -> chat_tools.ToolIn:
        """The same as chat has it."""
        given = {name: value for name, value in self.model_dump(exclude={"type"}).items() if value is not None}
        return chat_tools.ToolIn(type="function", function=chat_tools.FunctionIn(**given))


def _kind(value: Any) -> str:
    return "<mcp>" if isinstance(value, dict) and value.get("type") == "mcp" else "<function>"


AnyTool = Annotated[Annotated[ToolIn, Tag("<function>")] | Annotated[McpIn, Tag("<mcp>")], Discriminator(_kind)]


def _input(value: Any) -> Any:
    if not isinstance(value, str | list):
        raise PydanticCustomError("input", "input is a string or an array of items")
    return value


def _choice(value: Any) -> ToolChoice:
    if value is None or value in ("auto", "none", "required"):
        return ToolChoice(value or "auto")
    named = isinstance(value, dict) and set(value) == {"type", "name"} and value["type"] == "function"
    if named and isinstance(value["name"], str):
        return ToolChoice("function", value["name"])
    raise PydanticCustomError("tool_choice", 'tool_choice is "auto", "none", "required" or an object naming a function')


_NAMED = {
    "type": "object",
    "properties": {"type": {"const": "function"}, "name": {"type": "string"}},
    "required": ["type", "name"],
}
ToolChoiceField = Annotated[
    ToolChoice,
    BeforeValidator(_choice),
    WithJsonSchema({"anyOf": [{"enum": ["auto", "none", "required"]}, _NAMED, {"type": "null"}]}),
]


class Reasoning(Wire):
    """How much to think."""

    effort: Effort | None = None
    """A share of the server's largest budget; together with max_output_tokens the smaller one counts."""
    summary: Literal["auto"] | None = None
    """Reasoning is sent in full; nobody summarises it."""
    generate_summary: Literal["auto"] | None = None


class Format(Wire):
    """Free text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: Flag = None
    description: str | None = None

    def structure(self) -> str:
        """The same as chat's response format, as JSON. Raises `InvalidRequest`."""
        if self.type == "text":
            return ""
        form: dict[str, Any] = {"type": self.type}
        if self.type == "json_schema":
            given = self.model_dump(by_alias=True, exclude={"type"})
            form["json_schema"] = {name: value for name, value in given.items() if value is not None}
        structure = json.dumps(form, ensure_ascii=False)
        check(structure, "text.format")
        return structure


class Text(Wire):
    """The form of the answer."""

    format: Format | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    """Accepted and not used."""


class StreamOptions(Wire):
    """How to stream."""

    include_obfuscation: Flag = None
    """Accepted and not used."""


class ResponsesRequest(Sampled):
    """A request for a response: OpenAI's fields, sampling fields of vLLM in common use, and `decoder`."""

    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "access_programs": (None,),
        "background_options": (None, {}),
        "context_management": (None, []),
        "conversation": (None,),
        "image": (None, {}),
        "moderation": (None,),
        "prompt": (None,),
        "truncation": (None, "disabled"),
    }

    input: Annotated[
        str | list[Any],
        BeforeValidator(_input),
        Field(min_length=1),
        WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "minItems": 1}]}),
    ]
    """The user's text, or items: messages, function calls and their outputs, reasoning (which is not used)."""
    instructions: str | None = None
    """A system message in front, for this response only."""
    previous_response_id: str | None = None
    """A stored response that this one continues."""
    store: Flag = None
    """Whether the response can be asked for later; it can by default."""
    background: Flag = None
    """Return at once and go on without a client."""
    webhook_url: str | None = Field(default=None, max_length=2000)
    """Ours: told of the end of a run in the background; the operator lists the hosts that it may lead to."""
    allow_training: Flag = None
    """Ours: what comes of it may be learned from; the run is then kept like one in the background."""
    max_output_tokens: int | None = Field(default=None, ge=1)
    """Tokens that may be generated for this request, all steps together."""
    reasoning: Reasoning | None = None
    text: Text | None = None
    tools: list[AnyTool] | None = Field(default=None, max_length=128)
    """Functions that the reply may call, or one MCP server whose tools are called before it."""
    max_tool_calls: int | None = Field(default=None, ge=1)
    """Calls of an MCP server's tools at most."""
    tool_choice: ToolChoiceField = ToolChoice()
    """auto, none, required, or a function that must be called."""
    parallel_tool_calls: Flag = None
    """Whether the reply may make several calls; it may by default."""
    include: Annotated[list[Include], Items] | None = None
    """Log-probabilities of the answer; reasoning and images are there anyhow, in clear."""
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    metadata: dict[str, str] | None = Field(default=None, max_length=16)
    """Repeated in the response."""
    stop: StopField = ()
    answer_format: str | None = Field(default=None, min_length=1)
    """Ours: one of the answer formats of the model's template pack, such as boxed, choice, code or text."""
    environment: EnvironmentField = None
    """Ours: one of the server's environments to act in, or an object of its name and `reset`; see /v1/environments."""
    stream_options: StreamOptions | None = None
    user: str | None = None
    """Accepted and not used, as are all fields below."""
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None

    @property
    def logprobs(self) -> bool:
        """Whether log-probabilities are wanted."""
        return LOGPROBS in (self.include or ())

    @property
    def servers(self) -> list[McpIn]:
        """The MCP servers among the tools."""
        return [tool for tool in self.tools or () if isinstance(tool, McpIn)]

    def ask(self, context: Sequence[Item], given: Sequence[Item]) -> Ask:
        """The same in the service's terms. Raises `InvalidRequest` where fields do not fit together."""
        self._check()
        told = [Turn("instructions", Message("system", self.instructions))] if self.instructions else []
        functions = [tool.chat() for tool in self.tools or () if isinstance(tool, ToolIn)]
        tools, choice = offered(functions, self.tool_choice)
        environment = chosen(self.servers, bool(functions), self.environment)
        limit = {} if self.max_tool_calls is None else {"max_steps": self.max_tool_calls}
        structure = self.text.format.structure() if self.text and self.text.format else ""
        logprobs = (self.top_logprobs or 0) if self.logprobs else None
        return Ask(
            model=self.model,
            messages=conversation([*told, *turns(context, "previous_response_id"), *turns(given)], "input"),
            decoder=self.decoder.name,
            options={**limit, **self.decoder.options},
            max_tokens=self.max_output_tokens,
            max_tokens_param="max_output_tokens",
            effort=self.reasoning.effort if self.reasoning else None,
            sampling=self.sampling(stop=self.stop or None, logprobs=logprobs, structure=structure or None),
            tools=tools,
            tool_choice=choice,
            parallel_tool_calls=self.parallel_tool_calls is not False,
            answer_format=self.answer_format or "",
            environment=environment,
            deadline=self.deadline_seconds,
            seed=self.seed,
            names={
                "messages": "input",
                "structure": "text.format",
                "logprobs": "include",
                **({"environment": "tools"} if self.servers else {}),
            },
        )

    def repeated(self) -> dict[str, Any]:
        """What of the request the response says again."""
        choice, reasoning = self.tool_choice, self.reasoning or Reasoning()
        form = self.text.format if self.text else None
        shown = {"type": "text"} if form is None else form.model_dump(by_alias=True, exclude_none=True)
        return {
            "background": bool(self.background),
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "max_tool_calls": self.max_tool_calls,
            "metadata": self.metadata or {},
            "model": self.model,
            "parallel_tool_calls": self.parallel_tool_calls is not False,
            "previous_response_id": self.previous_response_id,
            "reasoning": {"effort": reasoning.effort, "summary": reasoning.summary},
            "store": self.store is not False,
            "temperature": self.temperature,
            "text": {"format": shown},
            "tool_choice": {"type": "function", "name": choice.name} if choice.name else choice.mode,
            "tools": [tool.model_dump() for tool in self.tools or ()],
            "top_logprobs": self.top_logprobs,
            "top_p": self.top_p,
            "truncation": "disabled",
        }

    def _check(self) -> None:
        if self.background and self.store is False:
            raise InvalidRequest("a background response is stored: leave store out", param="store")
        if self.allow_training and self.store is False:
            raise InvalidRequest("what may be learned from is stored: leave store out", param="store")
        if self.max_tool_calls is not None and not self.servers:
            raise InvalidRequest("max_tool_calls is only allowed with a tool of the type mcp", param="max_tool_calls")
        if self.top_logprobs is not None and not self.logprobs:
            raise InvalidRequest(f"top_logprobs is only allowed with include: {LOGPROBS}", param="top_logprobs")
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest("stream_options is only allowed with stream: true", param="stream_options")
