"""The final answer in a reply, and whether two answers are the same text.

Rule: the final answer is what voting decoders go by, the formats of the pack `plain`; and nothing here calculates.
"""

from __future__ import annotations

import re
from functools import cache

from decoders.prompts import Format, Pack

_NUMBER = re.compile(r"[+-]?\d{1,400}")
_SHOW = re.compile(r"\\(?:left|right|displaystyle|[,;:!])|\$")
"""What changes the look of a formula and not its meaning."""


@cache
def form(name: str) -> Format:
    """An answer format of the pack `plain`: how it is asked for, and how it is found."""
    return Pack.load("plain").format(name)


def final(reply: str) -> str:
    """What the reply puts into its last box, or all of it where there is none."""
    found = form("boxed").find(reply)
    return (reply if found is None else found).strip()


def same(a: str, b: str) -> bool:
    """Whether two answers are the same text, but for spaces, dollar signs and a full stop; whole numbers by value."""
    a, b = _bare(a), _bare(b)
    return a == b or (is_number(a) and is_number(b) and int(a) == int(b))


def check(right: str, reply: str) -> bool:
    """Whether the reply's final answer is the right one, as text."""
    return same(right, final(reply))


def is_number(text: str) -> bool:
    """Whether it is a whole number and nothing else."""
    return _NUMBER.fullmatch(_bare(text)) is not None


def _bare(answer: str) -> str:
    text = _SHOW.sub("", re.sub(r"\\[dt]frac", r"\\frac", answer))
    return re.sub(r" ?([^\w ]) ?", r"\1", " ".join(text.split())).removesuffix(".")
