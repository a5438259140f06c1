"""What a linear scorer sees of an answer: a few numbers from 0 to 1, read from the texts alone.

They are about arithmetic that is stated as equations (`9 * 5 = 45`), and hold in any task with numbers in its question.
Rule: none of them says whether the answer is right; each is bounded, which is what private training rests on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,9})?")
_EQUATION = re.compile(
    r"(\d{1,9}(?:\.\d{1,9})?)\s*([-+*/×÷−])\s*(\d{1,9}(?:\.\d{1,9})?)\s*=\s*(-?\d{1,9}(?:\.\d{1,9})?)(?![\d.]*\d)"
)
_MORE = re.compile(r"[\w=+*/×÷−-]")
_OPERATORS = {"×": "*", "÷": "/", "−": "-"}
_MANY_EQUATIONS, _MANY_WORDS = 8, 256

NAMES = (
    "equations",
    "true",
    "invented",
    "reused",
    "covered",
    "reached",
    "ends in an equation",
    "other words",
    "length",
)


def features(question: str, answer: str) -> Mapping[str, float]:
    """All of them by name.

    `equations` how many, up to 8; `true` the share that hold; `invented` operands that are neither numbers of the
    question nor results from before; `reused` operands taken more often than they are there; `covered` the question's
    numbers that occur; `reached` whether the last result is the question's last number; `ends in an equation` whether
    nothing follows the last one; `other words` those outside equations; `length` in words, up to 256.
    """
    matches = list(_EQUATION.finditer(answer))
    found = [match.groups() for match in matches]
    given = _NUMBER.findall(question)
    words, others = len(answer.split()), len(re.findall(r"\w+", _EQUATION.sub(" ", answer)))
    invented, reused = _origins(given, found)
    operands = max(2 * len(found), 1)
    values = (
        min(len(found) / _MANY_EQUATIONS, 1.0),
        sum(map(_holds, found)) / max(len(found), 1),
        invented / operands,
        reused / operands,
        len(set(given) & set(_NUMBER.findall(answer))) / max(len(set(given)), 1),
        float(bool(found and given) and found[-1][3] == given[-1]),
        float(bool(matches) and not _MORE.search(answer, matches[-1].end())),
        others / max(words, 1),
        min(words / _MANY_WORDS, 1.0),
    )
    return dict(zip(NAMES, (min(value, 1.0) for value in values), strict=True))


def _origins(given: list[str], equations: Sequence[tuple[str, ...]]) -> tuple[int, int]:
    """Operands that come from nowhere, and those that are used up already."""
    have, seen = Counter(given), set(given)
    invented = reused = 0
    for a, _, b, result in equations:
        for operand in (a, b):
            if operand not in seen:
                invented += 1
            elif not have[operand]:
                reused += 1
            have[operand] = max(have[operand] - 1, 0)
        have[result] += 1
        seen.add(result)
    return invented, reused


def _holds(equation: tuple[str, ...]) -> bool:
    a, operator, b, result = float(equation[0]), equation[1], float(equation[2]), float(equation[3])
    match _OPERATORS.get(operator, operator):
        case "+":
            value = a + b
        case "-":
            value = a - b
        case "*":
            value = a * b
        case _:
            value = a / b if b else float("nan")
    return abs(value - result) <= 1e-6 * max(abs(value), 1.0)
