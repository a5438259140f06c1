"""What happens in an episode, as it is told to a client: some words among the reasoning, and the same for programs.

Rule: what an environment says is shown up to a bound; the trace has all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from decoders.core.events import Acted

SHOWN = 2000
"""Characters of an action or observation among the words."""
TOLD = 16_000
"""Characters of the same among the fields."""


def happening(event: Acted) -> tuple[str, Mapping[str, Any]]:
    """The words and the fields of an event of an episode.

    `event` is reset for the start, step for an action, recheck for an answer that was withheld, answer for one that
    counts.
    """
    act, seen = event.act, event.act.observation
    kind = "reset" if act.action is None else "recheck" if act.withheld else "step" if act.answer is None else "answer"
    about: dict[str, Any] = {"event": kind, "n": event.steps, "left": event.left}
    if act.action is not None:
        about["action"] = bounded(act.action, TOLD)
    if seen is None:
        why = {"recheck": "withheld", "answer": "answer"}.get(kind, "not carried out")
        return f"({why}: {bounded(act.action or '')})", about
    about["observation"] = bounded(seen.text, TOLD)
    about |= {"tools": seen.tools} if seen.tools else {}
    about |= {"ms": round(act.seconds * 1000, 1)} | ({"error": True} if seen.error else {})
    about |= {} if seen.reward is None else {"reward": seen.reward}
    return f"[{bounded(seen.text)}]", about


def bounded(text: str, limit: int = SHOWN) -> str:
    """The beginning of a long text."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} more characters)"
