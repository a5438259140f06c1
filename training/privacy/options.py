"""Options that several subcommands of `longthink train privacy` share. Rule: one spelling and one meaning in all."""

from __future__ import annotations

import argparse
from math import inf

from training.privacy.budget import Budget


def add_budget(to: argparse.ArgumentParser) -> None:
    """The privacy budget, in one of its two forms."""
    to.add_argument("--epsilon", type=positive, help="with --delta: approximate differential privacy")
    to.add_argument("--delta", type=share, help="see --epsilon")
    to.add_argument("--rho", type=positive, help="zero-concentrated differential privacy")


def budget(options: argparse.Namespace) -> Budget:
    """What was asked for; `ValueError` where it is neither form, or both."""
    pair = (options.epsilon, options.delta)
    if options.rho is not None and pair == (None, None):
        return Budget.concentrated(options.rho)
    if options.rho is None and None not in pair:
        return Budget.approximate(options.epsilon, options.delta)
    raise ValueError("say how private: either --epsilon and --delta, or --rho")


def natural(text: str) -> int:
    """1, 2, 3, …"""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def count(text: str) -> int:
    """0, 1, 2, …"""
    if (value := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"{text} is less than 0")
    return value


def positive(text: str) -> float:
    """A number above 0."""
    if not 0 < (value := float(text)) < inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def share(text: str) -> float:
    """Between 0 and 1, without them."""
    if not 0 < (value := float(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value
