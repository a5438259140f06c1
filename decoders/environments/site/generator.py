"""Makes a site. Rule: all chance comes from one generator that is seeded by level, kind and seed."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import permutations

from decoders.environments.site.catalogue import (
    CODES,
    COLOURS,
    HALLS,
    LEVELS,
    MATERIALS,
    NOUNS,
    PRICES,
    SHELF_OF,
    Good,
    Kind,
    Level,
)
from decoders.environments.site.pages import CLOSED, HOME, Page


class Draft:
    """A site while it is made: the first page, and pages that are reached from those before them."""

    def __init__(self, rng: random.Random, level: Level) -> None:
        self.rng = rng
        self.level = level
        self.titles = [HOME]
        self.lines: list[tuple[str, ...]] = [()]
        self.links: list[list[tuple[str, int]]] = [[]]
        self.shelves = self._shelves()

    def add(self, parent: int, label: str, title: str, *lines: str) -> int:
        """A new page and the link to it."""
        self.titles.append(title)
        self.lines.append(lines)
        self.links.append([])
        self.links[parent].append((label, len(self.titles) - 1))
        return len(self.titles) - 1

    def pages(self, first_lines: tuple[str, ...]) -> tuple[Page, ...]:
        """The finished pages; links stand in random order, but for those of the first page."""
        for links in self.links[1:]:
            self.rng.shuffle(links)
        lines = [first_lines, *self.lines[1:]]
        parts = zip(self.titles, lines, map(named, self.links), strict=True)
        return tuple(Page(title, own, links) for title, own, links in parts)

    def _shelves(self) -> dict[str, int]:
        """Shelves by name, with their pages; empty where the goods are on the first page."""
        level, rng = self.level, self.rng
        if not level.halls:
            return {shelf: self.add(0, shelf, shelf) for shelf in rng.sample(list(SHELVES), level.shelves)}
        found: dict[str, int] = {}
        for hall in rng.sample(list(HALLS), level.halls):
            page = self.add(0, hall, hall)
            found |= {shelf: self.add(page, shelf, shelf) for shelf in rng.sample(list(HALLS[hall]), level.shelves)}
        return found

    def place(self, good: Good, room: dict[str, int]) -> int:
        """Put a good on a shelf, mostly the right one, and say on which page it is."""
        lines = (f"colour {good.colour}", f"made {good.material}", f"price {good.price}", f"code {good.code}")
        if not self.shelves:
            return self.add(0, good.noun, good.noun, *lines)
        free = [shelf for shelf, places in room.items() if places]
        right = SHELF_OF[good.noun]
        strays = right not in free or self.rng.random() < self.level.misplaced
        shelf = self.rng.choice(free) if strays else right
        room[shelf] -= 1
        return self.add(self.shelves[shelf], good.noun, good.noun, *lines)

    def mislead(self, nouns: list[str]) -> None:
        """Dead ends and cross-links."""
        for _ in range(self.level.dead_ends):
            self.add(self.rng.choice(list(self.shelves.values())), self.rng.choice(nouns), CLOSED)
        pairs = list(permutations(self.shelves, 2))
        for here, there in self.rng.sample(pairs, self.level.cross_links):
            self.links[self.shelves[here]].append((f"see {there}", self.shelves[there]))


def named(links: list[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    """Links with goods of the same noun told apart by a number, as a catalogue does: `harp 1`, `harp 2`."""
    times: Counter[str] = Counter()
    found = []
    for label, page in links:
        times[label] += 1
        found.append((f"{label} {times[label]}" if label in SHELF_OF else label, page))
    return tuple(found)


SHELVES = tuple(dict.fromkeys(SHELF_OF.values()))


def generate(level: int, kind: Kind, seed: int, open_book: bool) -> tuple[tuple[Page, ...], Good, int]:
    """The pages, the wanted good, and the number of its page."""
    rng = random.Random(f"site/{level}/{kind}/{seed}")
    draft = Draft(rng, LEVELS[level])
    nouns = [noun for noun in NOUNS if SHELF_OF[noun] in draft.shelves] or list(NOUNS)
    count = LEVELS[level].goods * max(1, len(draft.shelves))
    goods, wanted = stock(rng, kind, nouns, count, LEVELS[level].rivals)
    rng.shuffle(goods)
    room = dict.fromkeys(draft.shelves, LEVELS[level].goods)
    places = {good.code: draft.place(good, room) for good in goods}
    draft.mislead(nouns)
    shown = tuple(f"item {g.noun} {g.colour} {g.material} {g.price} {g.code}" for g in goods) if open_book else ()
    return draft.pages(shown), wanted, places[wanted.code]


def stock(rng: random.Random, kind: Kind, nouns: list[str], count: int, rivals: int) -> tuple[list[Good], Good]:
    """The goods and which of them is wanted: `find` has one that fits, `cheapest` the lowest price of several."""
    codes = rng.sample(CODES, count)
    goods = [
        Good(rng.choice(nouns), rng.choice(COLOURS), rng.choice(MATERIALS), rng.choice(PRICES), code) for code in codes
    ]
    wanted = goods[0]
    for place in range(1, 1 + rivals):
        same_colour = place == 1 or rng.random() < 0.6
        colour = wanted.colour if same_colour else goods[place].colour
        goods[place] = replace(goods[place], noun=wanted.noun, colour=colour)
    if kind == "find":
        looks = (wanted.noun, wanted.colour, wanted.material)
        for place, good in enumerate(goods[1:], 1):
            if (good.noun, good.colour, good.material) == looks:
                goods[place] = replace(good, material=rng.choice([m for m in MATERIALS if m != wanted.material]))
        return goods, wanted
    fitting = [place for place, good in enumerate(goods) if (good.noun, good.colour) == (wanted.noun, wanted.colour)]
    for place, price in zip(fitting, rng.sample(PRICES, len(fitting)), strict=True):
        goods[place] = replace(goods[place], price=price)
    return goods, min((goods[place] for place in fitting), key=lambda good: good.price)
