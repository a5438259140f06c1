r"""Whether a text that is to help with a problem gives its answer away.

Rule: an answer counts wherever it stands by itself, a short one only where it is told as a result: `2` stands in many
an honest sentence. Fractions, spaces and thousands are read alike however they are set: `\frac{1}{2}` is `1 / 2`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from decoders.prompts import Format

TELLING = 3
"""Characters from which on an answer is recognised by itself."""

_RESULT = r"(?:=|\b(?:equals|gives|yields)|\b(?:answer|result|solution|value)(?:\s+is)?\W{0,3}?)\s*\(?"
_REWRITTEN = (
    (re.compile(r"\$|\*\*|\\(?:left|right)(?![a-z])|\\[,;!]|(?<=\d),(?=\d{3}(?!\d))"), ""),
    (re.compile(r"\\[dt]?frac\s*(?:\{([^{}]*)\}|(\w))\s*(?:\{([^{}]*)\}|(\w))"), r"\1\2/\3\4"),
    (re.compile(r"\s+"), " "),
    (re.compile(r" ?([/^]) ?|([(\[{,]) | (?=[)\]},])"), r"\1\2"),
)


def leaks(text: str, answers: Iterable[str], form: Format) -> bool:
    """Whether a text has the form of a final answer, or tells one of `answers`."""
    if form.find(text) is not None:
        return True
    said = _plain(text)
    return any(_told(_plain(answer), said) for answer in answers)


def _told(answer: str, text: str) -> bool:
    if len(answer) >= TELLING:
        return re.search(rf"(?<!\w){re.escape(answer)}(?!\w|\.\d)", text) is not None
    # what follows must end the result: "= 2k" and "= 2 + 3" are others
    return bool(answer) and re.search(rf"{_RESULT}{re.escape(answer)}(?!\w|[.,]\d| ?[-+*/^])", text) is not None


def _plain(text: str) -> str:
    for pattern, instead in _REWRITTEN:
        text = pattern.sub(instead, text)
    return text.strip().lower()
