"""The verification log: a solution cut into numbered steps, and what a verifier says of each.

Rule: prompts number the steps with `numbered`, so that the numbers in a log are places in `steps`, here and in training
(`training/interventions.py`). The log is a line a step, `Step 3: gap. The case n = 0 is missing`, and may stand
anywhere in the verifier's reply.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from decoders.core.thinking import OPEN

Finding = Literal["sound", "gap", "wrong"]

PARAGRAPH = r"\n[ \t]*\n\s*"
"""Between steps in prose; the `step_pattern` of a template pack stands for another boundary."""
_LINE = re.compile(
    r"^[^\w\n]*(?:sub)?step[^\w\n]*(\d{1,4})[^\w\n]+(sound|gap|wrong)\b[^\w\n]*(.*)$", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Check:
    """A verifier's finding about one step; steps count from 1."""

    step: int
    finding: Finding
    note: str


def begins(solution: str, boundary: str = PARAGRAPH) -> list[int]:
    """Where the steps begin, in characters: behind the mark that opens the thinking, and where a boundary ends."""
    opened = re.match(rf"\s*(?:{OPEN}\s*)?", solution)
    first, size = opened.end() if opened else 0, len(solution.rstrip())
    places = {first, *(match.end() for match in re.finditer(boundary, solution))}
    return sorted(place for place in places if first <= place < size)


def steps(solution: str, boundary: str = PARAGRAPH) -> list[str]:
    """The solution's steps, by default its paragraphs."""
    places = begins(solution, boundary)
    return [solution[place:end].strip() for place, end in pairwise([*places, len(solution)])]


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
