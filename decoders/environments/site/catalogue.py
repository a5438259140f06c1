"""What sites are made of: words, goods, levels, and which sites are held out. Rule: no two kinds of words share one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["find", "cheapest"]
Split = Literal["train", "dev", "test"]
KINDS: tuple[Kind, ...] = ("find", "cheapest")

HALLS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "music": {"strings": ("harp", "violin"), "pipes": ("flute", "horn"), "drums": ("gong", "rattle")},
    "camp": {"shelter": ("tent", "tarp"), "fire": ("stove", "kettle"), "packs": ("bag", "rope")},
    "office": {"seats": ("chair", "stool"), "desks": ("lamp", "globe"), "filing": ("folder", "stamp")},
    "harbour": {"boats": ("canoe", "raft"), "fishing": ("net", "hook"), "signals": ("flag", "bell")},
}
"""Where things belong: halls, their shelves, and the two nouns that belong on each."""

HALL_OF = {shelf: hall for hall, shelves in HALLS.items() for shelf in shelves}
SHELF_OF = {noun: shelf for shelves in HALLS.values() for shelf, nouns in shelves.items() for noun in nouns}
NOUNS = tuple(SHELF_OF)
COLOURS = ("red", "blue", "green", "black", "white", "yellow")
MATERIALS = ("pine", "tin", "linen", "copper", "cork", "leather")
PRICES = range(1, 41)
CODES = tuple(f"{letter} {digit}" for letter in "bcdfghjkmnpqrstvwxz" for digit in "123456789")


@dataclass(frozen=True, slots=True)
class Good:
    """A thing on a shelf."""

    noun: str
    colour: str
    material: str
    price: int
    code: str


@dataclass(frozen=True, slots=True)
class Level:
    """How large a site is and how it misleads."""

    halls: int
    """0: the shelves are on the first page."""
    shelves: int
    """In each hall; 0: the goods are on the first page."""
    goods: int
    """On each shelf."""
    misplaced: float
    """The chance of a good to lie on any shelf instead of its own."""
    dead_ends: int
    """Links that are labelled like goods and lead to a closed page."""
    cross_links: int
    """Links from one shelf to another."""
    rivals: int
    """Goods that have the wanted one's noun, and so its label."""


LEVELS: Mapping[int, Level] = {
    1: Level(halls=0, shelves=0, goods=8, misplaced=0.0, dead_ends=0, cross_links=0, rivals=3),
    2: Level(halls=0, shelves=3, goods=3, misplaced=0.1, dead_ends=0, cross_links=0, rivals=2),
    3: Level(halls=3, shelves=2, goods=3, misplaced=0.2, dead_ends=1, cross_links=1, rivals=3),
    4: Level(halls=4, shelves=3, goods=4, misplaced=0.3, dead_ends=3, cross_links=3, rivals=4),
}
TRAINED_LEVELS = (1, 2, 3)
"""Level 4 is held out: nothing of ours is trained on it."""


def split_of(seed: int) -> Split:
    """Which seeds are for what: of every ten, one for testing, one for development, eight for training."""
    return "test" if seed % 10 == 0 else "dev" if seed % 10 == 1 else "train"
