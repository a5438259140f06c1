"""Tool calls as models of the Hermes and Qwen kind write them: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`.

Rule: what might be a call is held back while it is generated; what turns out to be none is text after all.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from typing import Any

from decoders.core.engine import Chunk
from decoders.core.messages import Prompt, Sampling, ToolCall
from decoders.core.thinking import CLOSE, OPEN, overlap

MARK = "<tool_call>"
_BLOCK = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.DOTALL)


class ToolCallReader:
    """Takes the chunks of one completion and turns the blocks at its end into tool calls; thinking is let through."""

    def __init__(self, prompt: Prompt, sampling: Sampling, index: int) -> None:
        # as unique as a random id, and the same in every run of the same seed
        self._origin = f"{prompt.digest()}/{sampling.seed}/{index}"
        self._began = self._thinking = False
        self._held = ""

    def read(self, chunk: Chunk) -> Chunk:
        """The chunk with what may be shown of the text so far, the last one with the calls."""
        self._held += chunk.text
        if not self._began:
            self._thinking = chunk.thinking
            start = self._held.lstrip()
            if OPEN.startswith(start) and start != OPEN and chunk.finish is None and not self._thinking:
                return dataclasses.replace(chunk, text="")
            self._began = True
            self._thinking = self._thinking or start.startswith(OPEN)
        text = self._released()
        if chunk.finish is None:
            return dataclasses.replace(chunk, text=text)
        rest, calls = parse(self._held, self._origin)
        finish = "tool_calls" if calls and chunk.finish == "stop" else chunk.finish
        return dataclasses.replace(chunk, text=text + rest, finish=finish, tool_calls=calls)

    def _released(self) -> str:
        """What is certain to be no call; white space waits, for in front of a call it is dropped."""
        text = ""
        if self._thinking:
            head, closed, tail = self._held.partition(CLOSE)
            if not closed:
                keep = len(head) - overlap(head, CLOSE)
                self._held = head[keep:]
                return head[:keep]
            text, self._held, self._thinking = head + closed, tail, False
        place = self._held.find(MARK)
        ready = self._held[: len(self._held) - overlap(self._held, MARK) if place < 0 else place].rstrip()
        self._held = self._held[len(ready) :]
        return text + ready


def parse(text: str, origin: str) -> tuple[str, tuple[ToolCall, ...]]:
    """`(what is no call, the calls)`; a block that holds no call is left in the text."""
    calls: list[ToolCall] = []

    def take(block: re.Match[str]) -> str:
        found = _call(block[1])
        if found is None:
            return block[0]
        name, arguments = found
        digest = hashlib.blake2b(f"{origin}/{len(calls)}/{block[1]}".encode("utf-8", "replace"), digest_size=12)
        calls.append(ToolCall(f"call_{digest.hexdigest()}", name, arguments))
        return ""

    rest = _BLOCK.sub(take, text)
    return ((rest.rstrip() if rest.strip() else "") if calls else text), tuple(calls)


def _call(block: str) -> tuple[str, str] | None:
    """Name and arguments, where the block holds a call."""
    try:
        call: Any = json.loads(block)
    except (ValueError, RecursionError):
        return None
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return None
    arguments = call.get("arguments", {})
    return call["name"], arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
