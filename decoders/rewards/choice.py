"""Multiple choice: the letter in a reply. Rule: a reply that names no letter in a form that is asked for is wrong."""

from __future__ import annotations

import re

from decoders.rewards.exact import final, form

_LETTER = re.compile(r"(?:\\(?:text|mathrm|mathbf|textbf)\{)?\W*([A-Za-z])\W*(?:[).:]\s.*)?", re.DOTALL)


def letter(reply: str) -> str | None:
    """The chosen letter: the boxed one, alone or before its option, else that of the last `Answer: X`."""
    bare = _LETTER.fullmatch(final(reply))
    found = bare[1] if bare else form("choice").find(reply)
    return found.upper() if found else None


def check(right: str, reply: str) -> bool:
    """Whether the reply chooses the letter `right`."""
    return letter(reply) == right.upper()
