"""From what environments send to what agents read. Rule: equal observations give equal texts, of bounded size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

TEXT_KEYS = ("text", "axtree_txt", "prompt", "message", "output", "result", "content")
"""Where observations keep their text, the first that is there counts."""
_UNREADABLE = ("metadata", "screenshot", "done", "reward")


def text_of(observation: Any) -> str:
    """The text of a string, of an object with one of the text keys, or else the object as JSON."""
    if isinstance(observation, str):
        return observation
    if isinstance(observation, Mapping):
        if text := keyed_text(observation):
            return text
        observation = {key: value for key, value in observation.items() if key not in _UNREADABLE}
        if not observation:
            return ""
    return orjson.dumps(observation, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def keyed_text(observation: Mapping[str, Any]) -> str:
    """The text under the first of the text keys that has any; empty without."""
    return next(filter(None, (_inner(observation.get(key)) for key in TEXT_KEYS)), "")


def blocks_text(blocks: Sequence[Any]) -> str:
    """The text of a list of content blocks as MCP has them; of what is no text only that it is there."""
    lines = []
    for block in blocks:
        if not isinstance(block, Mapping):
            lines.append(str(block))
        elif isinstance(block.get("text"), str):
            lines.append(block["text"])
        elif isinstance(block.get("resource"), Mapping):
            lines.append(str(block["resource"].get("text") or f"[{block['resource'].get('uri', 'resource')}]"))
        else:
            lines.append(f"[{block.get('uri') or block.get('type', 'unknown content')}]")
    return "\n".join(lines)


def number(value: Any) -> float | None:
    """A reward: a number or nothing; `ValueError` for anything else."""
    if value is None:
        return None
    if not isinstance(value, bool | int | float):
        raise ValueError(f"a reward that is no number: {str(value)[:80]!r}")
    return float(value)


def cut(text: str, limit: int) -> str:
    """The text, or its beginning and how much of it there is."""
    return text if len(text) <= limit else f"{text[:limit]}\n[cut: the first {limit} of {len(text)} characters]"


def _inner(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(block, Mapping) and "type" in block for block in value):
        return blocks_text(value)
    return text_of(value) if isinstance(value, Mapping) and any(key in value for key in TEXT_KEYS) else ""
