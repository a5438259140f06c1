"""The verification log: a solution cut into numbered steps, and what a verifier says of each.

Rule: prompts number the steps with `numbered`, so that the numbers in a log are places in `steps`. The log is a line a
step, `Step 3: gap. The case n = 0 is missing`, and may stand anywhere in the verifier's reply.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Finding = Literal["sound", "gap", "wrong"]

_BLANK = re.compile(r"\n[ \t]*\n\s*")
_LINE = re.compile(
    r"^[^\w\n]*(?:sub)?step[^\w\n]*(\d{1,4})[^\w\n]+(sound|gap|wrong)\b[^\w\n]*(.*)$", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Check:
    """A verifier's finding about one step; steps count from 1."""

    step: int
    finding: Finding
    note: str


def steps(solution: str) -> list[str]:
    """The solution's steps: its paragraphs."""
    return [part for part in _BLANK.split(solution.strip()) if part]


def numbered(parts: Sequence[str]) -> str:
    """Steps under their numbers, as verifiers read them."""
    return "\n\n".join(f"[Step {number}]\n{part}" for number, part in enumerate(parts, 1))


def checks(reply: str) -> list[Check]:
    """The log in a verifier's reply, in its order; of a step that is judged more than once, the last word counts.

    Markup, other letters' case and "substep" are tolerated; lines that are no finding are passed over.
    """
    found: dict[int, Check] = {}
    for number, finding, note in _LINE.findall(reply):
        found[int(number)] = Check(int(number), finding.lower(), note.strip())
    return [found[number] for number in sorted(found)]


def faults(log: Sequence[Check]) -> list[Check]:
    """What a log objects to."""
    return [check for check in log if check.finding != "sound"]
