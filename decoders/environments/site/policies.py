"""Scripted walkers: what a budget of interactions buys those who know how to search.

Rule: a walker knows what its pages have shown it and where things belong, and nothing else of the site.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from decoders.environments.site.catalogue import HALL_OF, HALLS, SHELF_OF, Kind
from decoders.environments.site.episode import Site, Walk
from decoders.environments.site.pages import HOME

_GOAL = re.compile(r"find the (\w+) (\w+) (\w+)")
_FACTS = ("colour", "made", "price", "code")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a goal asks for."""

    kind: Kind
    noun: str
    colour: str
    material: str = ""

    @classmethod
    def of(cls, goal: str) -> Wish:
        """Read from the goal; `ValueError` where it is none of a site."""
        if not (match := _GOAL.search(goal)):
            raise ValueError(f"not a goal of a site: {goal!r}")
        first, colour, noun = match.groups()
        return cls("cheapest", noun, colour) if first == "cheapest" else cls("find", noun, colour, first)


@dataclass(frozen=True, slots=True)
class View:
    """A page as it is read."""

    title: str
    facts: dict[str, str]
    items: tuple[tuple[str, ...], ...]
    links: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> View:
        """Taken apart line by line; what stands before the heading is no part of the page."""
        title, facts = "", {}
        items, links = list[tuple[str, ...]](), list[str]()
        for line in text.splitlines():
            word, _, rest = line.partition(" ")
            if word in _FACTS:
                facts[word] = rest
            elif word == "item":
                items.append(tuple(rest.split(" ", 4)))
            elif word == "at":
                title = rest
            elif title:
                links.append(line)
        return cls(title, facts, tuple(items), tuple(links))

    def goods(self, noun: str) -> Iterator[tuple[str, str, int, str]]:
        """Colour, material, price and code of every good of that noun that the page tells about."""
        for name, colour, material, price, code in self.items:
            if name == noun:
                yield colour, material, int(price), code
        if self.title == noun and "code" in self.facts:
            facts = self.facts
            yield facts["colour"], facts["made"], int(facts["price"]), facts["code"]


@dataclass
class Walker:
    """Walks depth first, the likeliest link first, and never twice through a link of the same page.

    A thorough walker answers when it has found what fits, or for the cheapest when nothing is left to see. An `eager`
    one answers at every new good of the right noun with the best that it has seen; asked to look again it goes on,
    unless what it has found is what was to be found.
    """

    goal: str
    eager: bool = False
    _tried: dict[str, set[str]] = field(default_factory=dict)
    _fitting: dict[str, int] = field(default_factory=dict)
    _others: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.wish = Wish.of(self.goal)

    def act(self, text: str) -> str:
        """The next action on a page. The same page again means that the last answer was kept back."""
        view = View.of(text)
        new = self.look(view)
        if (self.wish.kind == "find" and self._fitting) or (self.eager and new):
            return self.answer()
        return self.move(view) or self.answer()

    def look(self, view: View) -> bool:
        """Take in what a page tells; whether there was a new good of the right noun."""
        before = len(self._fitting) + len(self._others)
        for colour, material, price, code in view.goods(self.wish.noun):
            if colour == self.wish.colour and material in (self.wish.material or material):
                self._fitting[code] = price
            elif code not in self._others:
                self._others.append(code)
        return len(self._fitting) + len(self._others) > before

    def move(self, view: View) -> str | None:
        """A link that may lead to the goal, else back; None on the first page when nothing is left."""
        tried = self._tried.setdefault(view.title, set())
        ranks = {name: self.rank(name) for name in view.links if name not in tried}
        if worthwhile := {name: rank for name, rank in ranks.items() if rank is not None}:
            name = min(worthwhile, key=worthwhile.__getitem__)
            tried.add(name)
            return f"open {name}"
        return None if view.title == HOME else "back"

    def answer(self) -> str:
        """The best that was seen: the cheapest that fits, else the latest of the right noun."""
        if self._fitting:
            return f"answer {min(self._fitting, key=self._fitting.__getitem__)}"
        return f"answer {self._others[-1] if self._others else 'none'}"

    def rank(self, name: str) -> int | None:
        """How likely a link leads to the goal, 0 the likeliest; None for links that are not worth a step.

        Cross-links are not: what lies behind them stands in its own place too.
        """
        label, shelf = name.rstrip(" 0123456789"), SHELF_OF[self.wish.noun]
        if label in (self.wish.noun, shelf, HALL_OF[shelf]):
            return (self.wish.noun, shelf, HALL_OF[shelf]).index(label)
        return 3 if label in HALLS or label in HALL_OF else None


@dataclass(frozen=True, slots=True)
class Played:
    """How an episode went; `answers` counts those that were kept back too."""

    answer: str
    reward: float
    steps: int
    answers: int
    stopped: Literal["answer", "budget"]


def play(site: Site, walker: Walker, max_steps: int, min_answers: int = 1) -> Played:
    """An episode by the rules of the decoder `tti`.

    A step is an action that reached the site. An answer is kept back until it is the `min_answers`-th or no step is
    left; with the last step spent, the walker answers with what it has.
    """
    walk, steps, answers = Walk(site), 0, 0
    while steps < max_steps and answers < min_answers:
        action = walker.act(walk.text)
        if action.startswith("answer"):
            answers += 1
        else:
            walk.act(action)
            steps += 1
    spent = answers < min_answers
    if spent:
        walker.look(View.of(walk.text))
    answer = walker.answer()
    walk.act(answer)
    return Played(answer, walk.reward or 0.0, steps, answers + spent, "budget" if spent else "answer")
