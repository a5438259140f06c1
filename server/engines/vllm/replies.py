"""From vLLM's outputs to chunks: text, ids, log-probabilities, and what vLLM's parsers make of reasoning and tools.

Rule: a tool call is told whole, on the last chunk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.parser import ParserManager
from vllm.renderers.chat_utils import make_tool_call_id

from decoders.core.engine import Chunk, Finish, TokenLogprob
from decoders.core.errors import EngineError, InvalidRequest
from decoders.core.messages import Prompt, Sampling, ToolCall
from server.engines.vllm.prompts import Rendered, Renderer

_FINISHES: Mapping[str, Finish] = {"stop": "stop", "length": "length"}


class Parsers:
    """The tool parser and the reasoning parser that the operator chose; a model may need neither."""

    def __init__(self, llm: Any, renderer: Renderer, front_end: Any) -> None:
        self.tools: bool = front_end.tool_call_parser is not None
        self._config = llm.model_config
        self._renderer = renderer
        reasoning = llm.vllm_config.structured_outputs_config.reasoning_parser or None
        try:
            self._class = ParserManager.get_parser(
                tool_parser_name=front_end.tool_call_parser,
                reasoning_parser_name=reasoning,
                enable_auto_tools=self.tools,
                model_name=self._config.model,
                tool_strict_level=front_end.tool_strict_level,
                tokenizer=renderer.tokenizer,
            )
        except TypeError as error:
            raise ValueError(f"vllm: {error}") from error
        self.reasoning: bool = reasoning is not None

    def request(self, prompt: Prompt, sampling: Sampling) -> Any | None:
        """The call in vLLM's terms with what the parsers add to it; None where there is nothing to parse."""
        if prompt.tools and not self.tools:
            raise InvalidRequest("this model has no tool parser: set --vllm.tool-call-parser", param="tools")
        if self._class is None or not prompt.messages or not (self.reasoning or prompt.tools):
            return None
        wanted: dict[str, Any] = {"messages": [m.wire() for m in prompt.messages], "stream": True}
        if prompt.tools:
            wanted["tools"] = json.loads(prompt.tools)
            wanted["tool_choice"] = json.loads(prompt.tool_choice) if prompt.tool_choice else "auto"
        if sampling.structure:
            wanted["response_format"] = json.loads(sampling.structure)
        request = ChatCompletionRequest.model_validate(wanted)
        return self._new(request).adjust_request(request)

    def engine_options(self, request: Any | None, rendered: Rendered) -> dict[str, Any]:
        """What vLLM's core must know, so that a grammar begins where the reasoning ends."""
        if request is None or not self.reasoning:
            return {}
        return {
            "reasoning_ended": request.resolve_reasoning_ended(self._new(request), rendered.ids),
            "reasoning_parser_kwargs": {"chat_template_kwargs": self._renderer.template_options},
        }

    def reader(self, request: Any | None, prompt: Prompt, rendered: Rendered, index: int) -> Reader:
        """What reads one completion."""
        parser = None if request is None else self._new(request)
        return Reader(self._renderer, parser, request, prompt, rendered, index)

    def _new(self, request: Any) -> Any:
        assert self._class is not None
        options = {"chat_template_kwargs": self._renderer.template_options, "model_config": self._config}
        return self._class(self._renderer.tokenizer, request.tools, **options)


class Reader:
    """One completion while it grows."""

    def __init__(
        self, renderer: Renderer, parser: Any, request: Any, prompt: Prompt, rendered: Rendered, index: int
    ) -> None:
        self._tokenizer = renderer.tokenizer
        self._parser, self._request, self._rendered, self._index = parser, request, rendered, index
        self._continues = bool(prompt.prefix) or prompt.token_ids is not None or prompt.text is not None
        self._first = True
        self._begun = False
        self._ids: list[int] = []
        self._reasoned = False
        self._calls: dict[int, list[str]] = {}

    def read(self, output: Any) -> Chunk | None:
        """The chunk that tells of an output; None where there is nothing to tell."""
        (done,) = output.outputs
        ids = tuple(done.token_ids)
        finish = self._finish(done.finish_reason)
        if not ids and not done.text and finish is None:
            return None
        self._ids += ids
        text, reasoning = self._joined(done.text), ""
        if self._parser is not None:
            text, reasoning = self._parsed(text, ids, finish)
        first, self._first = self._first, False
        calls = self._tool_calls() if finish is not None else ()
        return Chunk(
            text=text,
            token_ids=ids,
            logprobs=_logprobs(done.logprobs, ids),
            finish="tool_calls" if calls and finish == "stop" else finish,
            index=self._index,
            prompt_tokens=len(self._rendered.ids) if first else 0,
            cached_tokens=output.num_cached_tokens or 0 if first else 0,
            thinking=first and self._parser is None and self._rendered.thinking,
            reasoning=reasoning,
            reasoning_tokens=self._reasoning_tokens() if finish is not None else None,
            tool_calls=calls,
        )

    def _finish(self, reason: str | None) -> Finish | None:
        if reason is None:
            return None
        if reason not in _FINISHES:
            raise EngineError(f"vLLM ended a completion: {reason}")
        return _FINISHES[reason]

    def _joined(self, text: str) -> str:
        """Without the space that joins a reply to its prompt, as the decoded reply by itself has none."""
        if self._begun or not text:
            return text
        self._begun = True
        if self._continues or text[0] != " " or self._tokenizer.decode(self._ids, skip_special_tokens=True)[:1] == " ":
            return text
        return text[1:]

    def _parsed(self, text: str, ids: tuple[int, ...], finish: Finish | None) -> tuple[str, str]:
        """Text and reasoning; tool calls are kept for the end."""
        prompt = self._rendered.ids if self._first else None
        delta = self._parser.parse_delta(text, list(ids), self._request, prompt, finished=finish is not None)
        if delta is None:
            return "", ""
        for call in delta.tool_calls or ():
            kept = self._calls.setdefault(call.index, ["", "", ""])
            kept[0] = kept[0] or call.id or ""
            if call.function is not None:
                kept[1] += call.function.name or ""
                kept[2] += call.function.arguments or ""
        self._reasoned = self._reasoned or bool(delta.reasoning)
        return delta.content or "", delta.reasoning or ""

    def _tool_calls(self) -> tuple[ToolCall, ...]:
        kept = [self._calls[index] for index in sorted(self._calls)]
        return tuple(ToolCall(id or make_tool_call_id(), name, arguments) for id, name, arguments in kept)

    def _reasoning_tokens(self) -> int | None:
        if not self._reasoned:
            return None
        return len(self._ids) - len(self._parser.reasoning_parser.extract_content_ids(self._ids))


def _logprobs(entries: Any, ids: tuple[int, ...]) -> tuple[TokenLogprob, ...]:
    if not entries:
        return ()
    return tuple(_logprob(id, entry) for id, entry in zip(ids, entries, strict=False))


def _logprob(id: int, entry: Mapping[int, Any]) -> TokenLogprob:
    """The chosen token comes among its rivals, even where its rank is beyond the number that was asked for."""
    ranked = sorted(entry.items(), key=lambda item: item[1].rank)
    top = tuple((other, found.decoded_token or "", found.logprob) for other, found in ranked)
    chosen = entry[id]
    return TokenLogprob(id, chosen.decoded_token or "", chosen.logprob, top)
