"""The rules of Countdown and the check of an answer against them.

Use every given number exactly once with + - *; every result on the way is a whole number from 1 to 60 (so there is no
zero, no negative number and no fraction). An answer states its steps as `a op b = c`, separated by commas, each step
using numbers that are still there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

LARGEST = 60
OPERATORS = "+-*"
_STEP = re.compile(r"(\d+)\s*([-+*])\s*(\d+)\s*=\s*(\d+)")


def combine(a: int, operator: str, b: int) -> int | None:
    """`a operator b`, or None where the rules do not allow the result."""
    result = a + b if operator == "+" else a - b if operator == "-" else a * b
    return result if 1 <= result <= LARGEST else None


def explain(numbers: Sequence[int], target: int, answer: str) -> str | None:
    """None when the answer is right; otherwise what is wrong with it, for a person to read."""
    steps = _STEP.findall(answer)
    if not steps:
        return "the answer states no step of the form a op b = c"
    if not re.fullmatch(r"[\s,;.]*", _STEP.sub("", answer)):
        return "the answer holds something else than steps"
    have = Counter(numbers)
    for a_text, operator, b_text, c_text in steps:
        a, b, c = int(a_text), int(b_text), int(c_text)
        for used in (a, b):
            if have[used] == 0:
                return f"{used} is not available in {a} {operator} {b}"
            have[used] -= 1
        if combine(a, operator, b) != c:
            return f"{a} {operator} {b} is not {c} by the rules"
        have[c] += 1
    if sum(have.values()) != 1:
        return "some numbers are left over"
    return None if have[target] else f"the steps make {steps[-1][3]}, not {target}"
