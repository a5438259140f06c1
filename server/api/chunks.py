"""Chat completion chunks as bytes. Rule: what is the same in every chunk of a response is encoded once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from decoders.core.messages import ToolCall
from server.api.wire import StreamOptions, tool_call_object, usage_object
from server.narrator import Piece
from server.report import Report

_NO_FINISH = b'},"logprobs":null,"finish_reason":null}]'


def ending(options: StreamOptions | None, report: Report) -> Callable[[], bytes]:
    """The end of every chunk but the last: a null usage, as OpenAI has it, if the client has asked for the real one."""
    if options is None or not options.include_usage:
        return lambda: b"}\n\n"
    if options.continuous_usage_stats:
        return lambda: b',"usage":%b}\n\n' % orjson.dumps(usage_object(report.usage()))
    return lambda: b',"usage":null}\n\n'


class ChunkWriter:
    """Encodes the chunks of one response, each with its `tail`; `alias` repeats reasoning as `reasoning_content`."""

    def __init__(self, head: Mapping[str, Any], tail: Callable[[], bytes], *, alias: bool) -> None:
        self._head = b"data: " + orjson.dumps({**head, "object": "chat.completion.chunk"})[:-1] + b","
        self._tail = tail
        self._alias = alias
        self._marks: dict[str, bytes] = {}

    def piece(self, index: int, piece: Piece) -> bytes:
        """A piece of reasoning or answer."""
        text = orjson.dumps(piece.text)
        start = b'%b"choices":[{"index":%d,"delta":{"' % (self._head, index)
        if piece.kind == "step":
            about = b',"longthink":' + orjson.dumps({"step": piece.key, "role": piece.role, **(piece.about or {})})
            return b"%b%b%b%b" % (start[:-1], _NO_FINISH, about, self._tail())
        if piece.kind == "content":
            return b'%bcontent":%b%b%b' % (start, text, _NO_FINISH, self._tail())
        mark = self._marks.get(piece.key)
        if mark is None:
            mark = b',"longthink":' + orjson.dumps({"step": piece.key, "role": piece.role, **(piece.about or {})})
            self._marks[piece.key] = mark
        if self._alias:
            text = text + b',"reasoning_content":' + text
        return b'%breasoning":%b%b%b%b' % (start, text, _NO_FINISH, mark, self._tail())

    def role(self, index: int) -> bytes:
        """The first chunk of a choice."""
        return b'%b"choices":[{"index":%d,"delta":{"role":"assistant","content":""%b%b' % (
            self._head,
            index,
            _NO_FINISH,
            self._tail(),
        )

    def tool_calls(self, index: int, calls: Sequence[ToolCall]) -> bytes:
        """A chunk for each call, whole."""
        data = b""
        for place, call in enumerate(calls):
            delta = orjson.dumps({"tool_calls": [{"index": place, **tool_call_object(call)}]})
            start = b'%b"choices":[{"index":%d,"delta":' % (self._head, index)
            data += b"%b%b%b%b" % (start, delta, _NO_FINISH[1:], self._tail())
        return data

    def finish(self, choice: dict[str, Any], more: Mapping[str, Any]) -> bytes:
        """The last chunk of a choice; it carries what is known of the whole answer."""
        return self._head + orjson.dumps({"choices": [choice], **more})[1:-1] + self._tail()

    def usage(self, usage: dict[str, Any], longthink: dict[str, Any]) -> bytes:
        """The last chunk of a response whose client wants the usage."""
        return self._head + orjson.dumps({"choices": [], "usage": usage, "longthink": longthink})[1:] + b"\n\n"
