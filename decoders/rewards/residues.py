"""The check of an answer to a system of congruences: one number of the range, with these remainders."""

from __future__ import annotations

from collections.abc import Sequence

Congruence = tuple[int, int]
"""A modulus and the remainder that the number leaves by it."""


def explain(congruences: Sequence[Congruence], largest: int, answer: str) -> str | None:
    """None when the answer is right; otherwise what is wrong with it, for a person to read."""
    text = answer.strip().rstrip(" .").lower().removeprefix("x").lstrip().removeprefix("=").strip()
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(largest))):
        return "the answer is not one number"
    number = int(text)
    if not 1 <= number <= largest:
        return f"{number} is not from 1 to {largest}"
    for modulus, remainder in congruences:
        if number % modulus != remainder:
            return f"{number} mod {modulus} is {number % modulus}, not {remainder}"
    return None
