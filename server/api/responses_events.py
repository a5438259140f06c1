"""A response as it grows: its object, and the numbered events that tell of it.

Rule: one output item of a kind is open at a time; whatever a client has been told by `done` is final. The deltas of the
answer show what is said while it is said, and where a decoder in the end prefers another answer, `done` has that one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import orjson

from decoders.core.errors import LongThinkError
from decoders.core.messages import ToolCall
from decoders.core.trace import Usage
from server.api import errors, wire
from server.api.responses_items import new_id
from server.api.responses_mcp import calling, listing
from server.api.vendor import longthink
from server.narrator import BREAK, Piece
from server.report import Cancelled, Report

log = logging.getLogger("longthink")


class ResponseWriter:
    """Writes one response; `head` is what never changes of its object, `server` what its MCP server is called."""

    def __init__(self, head: Mapping[str, Any], report: Report, *, logprobs: bool, server: str = "") -> None:
        self._head = head
        self._report = report
        self._logprobs = logprobs
        self._server = server
        self._status = "queued" if head["background"] else "in_progress"
        self._more: dict[str, Any] = {"error": None, "incomplete_details": None, "usage": None, "completed_at": None}
        self._output: list[dict[str, Any]] = []
        self._open: dict[str, int] = {}
        self._said: dict[str, list[str]] = {}
        self._step = ""
        self._number = 0

    @property
    def done(self) -> bool:
        """Whether nothing will change any more."""
        return self._status not in ("queued", "in_progress")

    def body(self) -> bytes:
        """The response object as it is now."""
        return orjson.dumps(self._object())

    def begin(self, index: int) -> bytes:
        """The events before the first item, once."""
        if self._number:
            return b""
        data = self._event("response.created", response=self._object())
        if self._status == "queued":
            data += self._event("response.queued", response=self._object())
            self._status = "in_progress"
        return data + self._event("response.in_progress", response=self._object())

    def piece(self, index: int, piece: Piece) -> bytes:
        """Text of the reasoning, a part for each step, or of the answer."""
        if piece.kind == "content":
            data = self._close_reasoning() + self._open_message()
            return data + self._text("message", "response.output_text.delta", piece.text, logprobs=[])
        if self._server and piece.about is not None and (item := self._mcp_item(piece.about)):
            return self._close_reasoning() + self._mcp(item)
        data, text = b"", piece.text
        if "reasoning" not in self._open:
            data += self._open_item({"type": "reasoning", "summary": [], "content": []})
            data += self._open_part("reasoning", {"type": "reasoning_text", "text": ""})
            text = text.removeprefix(BREAK)
        elif piece.key != self._step:
            data += self._close_part("reasoning", "response.reasoning_text.done")
            data += self._open_part("reasoning", {"type": "reasoning_text", "text": ""})
            text = text.removeprefix(BREAK)
        self._step = piece.key
        about = {} if piece.about is None else {"longthink": piece.about}
        return data + self._text("reasoning", "response.reasoning_text.delta", text, **about)

    def finish(self, index: int, *, last: bool) -> bytes:
        """The end of the open items, and the calls of functions."""
        done, text = self._report.completion(0), self._report.text(0)
        data = self._close_reasoning()
        if text or "message" in self._open:
            found = wire.logprobs_object(done, self._logprobs)
            data += self._open_message() + self._close_message(text, found["content"] if found else [])
        for call in done.tool_calls if done else ():
            data += self._call(call)
        return data

    def end(self) -> bytes:
        """The last event, with the whole response."""
        cut = self._report.finish(0) == "length"
        if cut:
            self._more["incomplete_details"] = {"reason": "max_output_tokens"}
        return self._end("incomplete" if cut else "completed")

    def failure(self, error: Exception) -> bytes:
        """The last event of a response that failed, or that somebody has cancelled."""
        if isinstance(error, Cancelled):
            return self._end("cancelled")
        if not isinstance(error, LongThinkError):
            log.error("a response failed", exc_info=error)
        status, told = errors.describe(error)
        code = "invalid_prompt" if status in (400, 404) else "server_error"
        self._more["error"] = {"code": code, "message": told["error"]["message"]}
        return self._end("failed")

    def _object(self) -> dict[str, Any]:
        output = self._output if self.done else []
        return {**self._head, "status": self._status, "output": output, **self._more}

    def _end(self, status: str) -> bytes:
        self._status = status
        facts = self._report.facts()
        self._more["completed_at"] = facts.ended if status == "completed" else None
        usage, spent = facts.usage, facts.spent
        # nothing of what was cut off became an answer
        thought = usage.reasoning_tokens + spent - usage.completion_tokens
        usage = usage.model_copy(update={"completion_tokens": spent, "reasoning_tokens": thought})
        self._more["usage"] = usage_object(usage)
        self._more["longthink"] = longthink(self._report)
        # OpenAI has no event of its own for cancelled responses
        event = "incomplete" if status == "cancelled" else status
        for kind, index in self._open.items():
            self._settle(kind)
            self._output[index]["status"] = "incomplete"
        return self._event(f"response.{event}", response=self._object())

    def _open_message(self) -> bytes:
        if "message" in self._open:
            return b""
        data = self._open_item({"type": "message", "role": "assistant", "content": []})
        return data + self._open_part("message", {"type": "output_text", "text": "", "annotations": [], "logprobs": []})

    def _close_message(self, text: str, logprobs: list[dict[str, Any]]) -> bytes:
        self._said["message"] = [text]
        self._output[self._open["message"]]["content"][-1]["logprobs"] = logprobs
        cut = self._report.finish(0) == "length"
        data = self._close_part("message", "response.output_text.done", logprobs=logprobs)
        return data + self._close_item("message", "incomplete" if cut else "completed")

    def _close_reasoning(self) -> bytes:
        if "reasoning" not in self._open:
            return b""
        data = self._close_part("reasoning", "response.reasoning_text.done")
        return data + self._close_item("reasoning", "completed")

    def _call(self, call: ToolCall) -> bytes:
        item = {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": ""}
        data = self._open_item(item)
        index = self._open["function_call"]
        place = {"item_id": self._output[index]["id"], "output_index": index}
        self._output[index]["arguments"] = call.arguments
        data += self._event("response.function_call_arguments.delta", **place, delta=call.arguments)
        data += self._event("response.function_call_arguments.done", **place, name=call.name, arguments=call.arguments)
        return data + self._close_item("function_call", "completed")

    def _mcp_item(self, about: Mapping[str, Any]) -> dict[str, Any] | None:
        if about["event"] == "reset":
            return listing(self._server, about)
        return calling(self._server, about) if about["event"] == "step" else None

    def _mcp(self, item: dict[str, Any]) -> bytes:
        """A list of tools or a call of one, which is whole when it is told."""
        kind, arguments, failed = item["type"], item.get("arguments"), item["error"] is not None
        data = self._open_item({**item, "arguments": ""} if arguments is not None else item)
        index = self._open[kind]
        place = {"item_id": self._output[index]["id"], "output_index": index}
        data += self._event(f"response.{kind}.in_progress", **place)
        if arguments is not None:
            self._output[index]["arguments"] = arguments
            data += self._event("response.mcp_call_arguments.delta", **place, delta=arguments)
            data += self._event("response.mcp_call_arguments.done", **place, arguments=arguments)
        data += self._event(f"response.{kind}.{'failed' if failed else 'completed'}", **place)
        return data + self._close_item(kind, "failed" if failed else "completed")

    def _open_item(self, item: dict[str, Any]) -> bytes:
        item = {"id": new_id(item["type"], f"{self._head['id']}/{len(self._output)}"), **item, "status": "in_progress"}
        self._open[item["type"]] = len(self._output)
        self._output.append(item)
        return self._event("response.output_item.added", output_index=len(self._output) - 1, item=item)

    def _close_item(self, kind: str, status: str) -> bytes:
        index = self._open.pop(kind)
        self._output[index]["status"] = status
        return self._event("response.output_item.done", output_index=index, item=self._output[index])

    def _open_part(self, kind: str, part: dict[str, Any]) -> bytes:
        self._output[self._open[kind]]["content"].append(part)
        self._said[kind] = []
        return self._event("response.content_part.added", **self._place(kind), part=part)

    def _close_part(self, kind: str, done: str, **more: Any) -> bytes:
        part, place = self._settle(kind), self._place(kind)
        data = self._event(done, **place, text=part["text"], **more)
        return data + self._event("response.content_part.done", **place, part=part)

    def _settle(self, kind: str) -> dict[str, Any]:
        """The open part of the open item, with the text that was collected."""
        part: dict[str, Any] = self._output[self._open[kind]]["content"][-1]
        part["text"] = "".join(self._said[kind])
        return part

    def _text(self, kind: str, event: str, text: str, **more: Any) -> bytes:
        self._said[kind].append(text)
        return self._event(event, **self._place(kind), delta=text, **more)

    def _place(self, kind: str) -> dict[str, Any]:
        index = self._open[kind]
        item = self._output[index]
        return {"item_id": item["id"], "output_index": index, "content_index": len(item["content"]) - 1}

    def _event(self, kind: str, **fields: Any) -> bytes:
        told = orjson.dumps({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), told)


def usage_object(usage: Usage) -> dict[str, Any]:
    """OpenAI's usage of responses: output tokens are all that was generated, reasoning tokens are among them."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
