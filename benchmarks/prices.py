"""What a problem cost: its tokens at prices. Rule: tokens that were generated are the cost where nothing else is asked.

A prompt token that came from the prefix cache has a price of its own; `prompt_tokens` counts it too, as OpenAI has it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

PER_MILLION = 1e-6
PROBLEMS = 1000
"""Costs in money are of so many problems, or they would begin with zeros."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Of one token of each kind, and what their sum is called."""

    input: float
    cached: float
    output: float
    unit: str
    short: str

    def of(self, prompt: float, cached: float, completion: float) -> float:
        """The cost of so many tokens. `ValueError` where prompts are to be paid for and were not counted."""
        if self.input and not prompt:
            raise ValueError("these results do not tell their prompt tokens, so they have no cost: measure them anew")
        return (prompt - cached) * self.input + cached * self.cached + completion * self.output


TOKENS = Prices(0, 0, 1, "tokens generated per problem", "tokens")
USUAL = Prices(0.2, 0.02, 1, "cost per problem, in generated tokens", "cost")
"""A prompt token costs a fifth of a generated one, and a tenth of that where it is cached: a ratio, no price list."""


def add_options(to: argparse.ArgumentParser) -> None:
    """Whether to look at costs, and at which prices."""
    to.add_argument(
        "--cost",
        action="store_true",
        help="cost in place of tokens; without prices a prompt token is 0.2 of a generated one, a cached one 0.02",
    )
    for name, about in (("input", "prompt"), ("cached", "cached prompt"), ("output", "generated")):
        to.add_argument(f"--price-{name}", type=float, metavar="PRICE", help=f"of a million {about} tokens")


def of(options: argparse.Namespace) -> Prices:
    """What the options say; `ValueError` for prices that are not complete."""
    given = (options.price_input, options.price_cached, options.price_output)
    if given == (None, None, None):
        return USUAL if options.cost else TOKENS
    if options.price_input is None or options.price_output is None:
        raise ValueError("prices need --price-input and --price-output")
    cached = options.price_input if options.price_cached is None else options.price_cached
    prompt, cached, generated = (price * PER_MILLION * PROBLEMS for price in (given[0], cached, given[2]))
    return Prices(prompt, cached, generated, f"cost of {PROBLEMS:,} problems", "cost")
