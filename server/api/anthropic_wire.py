"""Anthropic's messages on the wire: the request as pydantic models, its blocks read into the decoders' messages.

Rule: a block that cannot be honoured is refused by its place; `cache_control` is accepted everywhere, for prefixes are
reused here without being asked to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from decoders.core.errors import InvalidRequest
from decoders.core.messages import Message, Prompt, ToolCall
from decoders.core.structure import check
from server.api import tools as chat_tools
from server.api.fields import Items, Wire
from server.api.request import Flag, Request, Sampled
from server.api.tools import ToolChoice, offered
from server.api.turns import Turn, content, conversation, gathered, only, parts, string, unknown
from server.service import Ask

Block = dict[str, Any]


class MessageIn(Wire):
    """One turn."""

    role: Literal["user", "assistant"]
    content: str | Annotated[list[Block], Items]
    """Text, or blocks: text, image, tool_use, tool_result, thinking (which is accepted and not used)."""


class ToolIn(Wire):
    """A function that the model may call."""

    name: str = Field(pattern=chat_tools.NAME)
    input_schema: dict[str, Any]
    description: str | None = None
    type: Literal["custom"] | None = None
    strict: Flag = None
    """Passed on to engines that know it."""
    cache_control: Any = None


class ToolChoiceIn(Wire):
    """Whether a tool must be used, and which."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: Flag = None


class Thinking(Wire):
    """Whether the reasoning is shown, and how much may be generated in all."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: int | None = Field(default=None, ge=1)
    """A further limit on what is generated, smaller than max_tokens."""
    display: Literal["summarized", "omitted"] | None = None


class OutputFormat(Wire):
    """JSON of a schema."""

    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class OutputConfig(Wire):
    """How much effort, and in which form."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    """A share of the server's largest budget; together with max_tokens the smaller one counts."""
    format: OutputFormat | None = None


class Conversation(Request):
    """What is asked."""

    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "container": (None,),
        "context_management": (None,),
        "diagnostics": (None,),
        "inference_geo": (None,),
        "mcp_servers": (None, []),
        "speed": (None, "standard"),
        "user_profile_id": (None,),
        "workspace_id": (None,),
    }

    messages: Annotated[list[MessageIn], Items] = Field(min_length=1)
    """The conversation; a last message of the assistant's is continued, which only the decoder `direct` can."""
    system: str | Annotated[list[Block], Items] | None = None
    tools: list[ToolIn] | None = Field(default=None, max_length=128)
    tool_choice: ToolChoiceIn | None = None
    thinking: Thinking | None = None
    """Reasoning is only shown where this is enabled or adaptive; a decoder reasons all the same."""
    output_config: OutputConfig | None = None
    cache_control: Any = None
    """Accepted and not used."""

    def read(self) -> tuple[tuple[Message, ...], str]:
        """The messages, and the beginning of the reply."""
        turns = [Turn("system", Message("system", _text(self.system, "system")))] if self.system else []
        for place, message in enumerate(self.messages):
            own = list(_turns(message, f"messages[{place}].content"))
            if not own:
                raise InvalidRequest(f"messages[{place}].content is empty", param=f"messages[{place}].content")
            turns += own
        last, prefix = turns[-1].message, ""
        if len(turns) > 1 and self.messages[-1].role == "assistant" and last.content and not last.tool_calls:
            turns, prefix = turns[:-1], last.content
        return conversation(turns, "messages"), prefix

    def offer(self) -> tuple[str, str]:
        """`tools` and `tool_choice` of a `Prompt`."""
        choice = self.tool_choice
        modes = {"any": "required", "tool": "function"}
        named = choice is not None and choice.type == "tool"
        if choice is not None and named != (choice.name is not None):
            raise InvalidRequest("tool_choice.name goes with the type tool", param="tool_choice.name")
        wanted = ToolChoice(modes.get(choice.type, choice.type), choice.name) if choice else ToolChoice()
        return offered([_tool(tool) for tool in self.tools or ()], wanted)


class CountRequest(Conversation):
    """A conversation whose tokens are to be counted."""

    model: str
    """A served model, or `model:decoder`."""

    def prompt(self) -> Prompt:
        """The conversation under the model's chat template; what a decoder writes around it comes on top."""
        messages, prefix = self.read()
        tools, choice = self.offer()
        return Prompt(messages, prefix, tools=tools, tool_choice=choice)


class MessagesRequest(Conversation, Sampled):
    """A request for a message: Anthropic's fields, sampling fields of vLLM in common use, and `decoder`."""

    max_tokens: int = Field(ge=1)
    """Tokens that may be generated for this request, all steps together."""
    stop_sequences: list[Annotated[str, Field(min_length=1)]] | None = Field(default=None, max_length=16)
    temperature: float | None = Field(default=None, ge=0, le=1)
    answer_format: str | None = Field(default=None, min_length=1)
    """Ours: one of the answer formats of the model's template pack, such as boxed, choice, code or text."""
    metadata: dict[str, Any] | None = None
    """Accepted and not used."""
    service_tier: str | None = None
    """Accepted and not used."""

    @property
    def shows_thinking(self) -> bool:
        """Whether the client wants to read the reasoning."""
        thinking = self.thinking
        return thinking is not None and thinking.type != "disabled" and thinking.display != "omitted"

    def ask(self) -> Ask:
        """The same in the service's terms. Raises `InvalidRequest` where fields do not fit together."""
        messages, prefix = self.read()
        tools, choice = self.offer()
        config = self.output_config or OutputConfig()
        return Ask(
            model=self.model,
            messages=messages,
            prefix=prefix,
            decoder=self.decoder.name,
            options=self.decoder.options,
            max_tokens=self.max_tokens,
            max_tokens_param="max_tokens",
            effort=config.effort,
            thinking_cap=self._cap(),
            sampling=self.sampling(stop=tuple(self.stop_sequences or ()) or None, structure=_structure(config.format)),
            tools=tools,
            tool_choice=choice,
            parallel_tool_calls=not (self.tool_choice and self.tool_choice.disable_parallel_tool_use),
            answer_format=self.answer_format or "",
            deadline=self.deadline_seconds,
            seed=self.seed,
            names={"stop": "stop_sequences", "prefix": "messages", "structure": "output_config.format"},
        )

    def _cap(self) -> int | None:
        thinking = self.thinking
        if thinking is None:
            return None
        if (thinking.budget_tokens is not None) != (thinking.type == "enabled"):
            message = "thinking.budget_tokens goes with the type enabled"
            raise InvalidRequest(message, param="thinking.budget_tokens")
        if thinking.budget_tokens is not None and thinking.budget_tokens >= self.max_tokens:
            message = "thinking.budget_tokens must be less than max_tokens"
            raise InvalidRequest(message, param="thinking.budget_tokens")
        return thinking.budget_tokens


def _structure(form: OutputFormat | None) -> str | None:
    if form is None:
        return None
    structure = json.dumps({"type": "json_schema", "json_schema": {"name": "output", "schema": form.schema_}})
    check(structure, "output_config.format")
    return structure


def _tool(tool: ToolIn) -> chat_tools.ToolIn:
    given: dict[str, Any] = {"name": tool.name, "parameters": tool.input_schema}
    more = {"description": tool.description, "strict": tool.strict}
    given |= {name: value for name, value in more.items() if value is not None}
    return chat_tools.ToolIn(type="function", function=chat_tools.FunctionIn(**given))


def _turns(message: MessageIn, where: str) -> Iterator[Turn]:
    """A message's turns: results of tools are turns of their own, in front of what the user says."""
    if isinstance(message.content, str):
        yield Turn(where, Message(message.role, message.content))
        return
    said, calls = [], []
    for at, block in parts(message.content, where):
        kind = block["type"]
        if kind == "tool_result" and message.role == "user":
            yield Turn(at, _result(block, at))
        elif kind == "tool_use" and message.role == "assistant":
            calls.append(_call(block, at))
        elif kind not in ("thinking", "redacted_thinking") or message.role == "user":
            said.append((at, block))
    shown = gathered(said, _part)
    if shown.attachments and message.role == "assistant":
        raise InvalidRequest(f"{where}: only text can be the assistant's", param=where)
    if said or calls or message.role == "assistant":
        yield Turn(where, Message(message.role, shown.text, shown.attachments, tuple(calls)))


def _part(block: Mapping[str, Any], where: str) -> str | Mapping[str, Any]:
    if block["type"] == "text":
        only(block, where, "text", "cache_control")
        return string(block, "text", where)
    if block["type"] != "image":
        raise unknown(block, where)
    only(block, where, "source", "cache_control")
    source = block.get("source")
    kind = source.get("type") if isinstance(source, dict) else None
    if isinstance(source, dict) and kind == "url":
        return {"type": "image_url", "image_url": {"url": string(source, "url", f"{where}.source", empty=False)}}
    if isinstance(source, dict) and kind == "base64":
        media = string(source, "media_type", f"{where}.source", empty=False)
        data = string(source, "data", f"{where}.source", empty=False)
        return {"type": "image_url", "image_url": {"url": f"data:{media};base64,{data}"}}
    raise InvalidRequest(f"{where}.source is of the type base64 or url", param=f"{where}.source")


def _text(value: str | list[Block], where: str) -> str:
    found = content(value, where, _part)
    if found.attachments:
        raise InvalidRequest(f"{where} is text", param=where)
    return found.text


def _call(block: Mapping[str, Any], where: str) -> ToolCall:
    only(block, where, "id", "name", "input", "cache_control")
    if not isinstance(block.get("input"), dict):
        raise InvalidRequest(f"{where}.input is an object", param=f"{where}.input")
    name, arguments = string(block, "name", where, empty=False), json.dumps(block["input"], ensure_ascii=False)
    return ToolCall(string(block, "id", where, empty=False), name, arguments)


def _result(block: Mapping[str, Any], where: str) -> Message:
    only(block, where, "tool_use_id", "content", "is_error", "cache_control")
    said = content(block.get("content") or "", f"{where}.content", _part)
    # no chat template knows failed calls, so the model is told in words
    text = f"Error: {said.text}" if block.get("is_error") is True else said.text
    return Message("tool", text, said.attachments, tool_call_id=string(block, "tool_use_id", where, empty=False))
