"""Which host has seen the beginning of a prompt. Rule: a guess that is wrong costs a cache miss and nothing else.

A prompt's beginnings are told apart by checksums of everything up to each 256th character, and of the whole.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Sequence

from decoders.core.messages import Prompt

_BLOCK = 256
_DEEPEST = 256
"""Blocks looked at: what follows the first 64 k characters decides nothing any more."""


def beginnings(prompt: Prompt) -> list[int]:
    """Checksums of the prompt's beginnings, the shortest first."""
    data = _text(prompt).encode("utf-8", "surrogatepass")[: _BLOCK * _DEEPEST]
    sums, total = [], 0
    for place in range(0, len(data), _BLOCK):
        total = zlib.crc32(data[place : place + _BLOCK], total)
        sums.append(total)
    return sums


def rank(url: str, sums: Sequence[int]) -> int:
    """Rendezvous hashing: every replica of this server ranks hosts alike for prompts that begin alike."""
    return zlib.crc32(b"%d %b" % (sums[0] if sums else 0, url.encode()))


class Prefixes:
    """The beginnings that one host has seen, the least recently used of them forgotten."""

    def __init__(self, capacity: int = 8192) -> None:
        self._capacity = capacity
        self._seen: OrderedDict[int, None] = OrderedDict()

    def known(self, sums: Sequence[int]) -> int:
        """How many of a prompt's beginnings are known: the length of the longest."""
        return next((length for length in range(len(sums), 0, -1) if sums[length - 1] in self._seen), 0)

    def learn(self, sums: Sequence[int]) -> None:
        """The host is about to see this prompt."""
        for total in sums:
            self._seen[total] = None
            self._seen.move_to_end(total)
        while len(self._seen) > self._capacity:
            self._seen.popitem(last=False)

    def clear(self) -> None:
        """The host has lost its cache."""
        self._seen.clear()


def _text(prompt: Prompt) -> str:
    if prompt.token_ids is not None:
        return " ".join(map(str, prompt.token_ids))
    if prompt.text is not None:
        return prompt.text
    turns = [f"{m.role}\n{m.content}\n{''.join(a.part for a in m.attachments)}" for m in prompt.messages]
    return "\n".join([prompt.tools, *turns, prompt.prefix])
