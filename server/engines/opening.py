"""Whether a prompt ends inside a thinking block that its chat template has opened, so that the reply begins in it."""

from __future__ import annotations

from collections.abc import Sequence

from decoders.core.messages import Prompt
from decoders.core.thinking import CLOSE, OPEN


def opened_by_text(text: str, prompt: Prompt) -> bool:
    """For a prompt that was rendered to `text`."""
    # Only what the template wrote after the last message counts: a user may mention the marks.
    last = prompt.messages[-1].content.strip() if prompt.messages else ""
    tail = text[text.rfind(last) + len(last) :] if last and last in text else text
    if last and last in prompt.prefix:
        tail = text[text.rfind(last, 0, len(text) - len(prompt.prefix)) + len(last) :]
    return tail.rfind(OPEN) > tail.rfind(CLOSE)


def opened_by_ids(ids: Sequence[int], start: int | None, end: int | None) -> bool:
    """For a prompt of ids; `start` and `end` are the ids of the marks, where they are tokens."""
    if start is None or end is None:
        return False
    return next((id == start for id in reversed(ids) if id in (start, end)), False)
