"""Built-in sites as a task: an agent has to walk to the answer, in the environment `site` of the server.

A level is `2-find` or `2-cheapest`, 1 to 4; with `-open` behind it, it is the control in which everything stands on the
first page. Splits are by seed, and level 4 is trained by nobody (`decoders.environments.site.catalogue`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, islice

from pydantic import JsonValue

from decoders.environments.site import KINDS, Site, split_of
from decoders.environments.site import LEVELS as SIZES

LEVELS = tuple(f"{level}-{kind}{control}" for control in ("", "-open") for level in SIZES for kind in KINDS)


@dataclass(frozen=True)
class Problem:
    """One site."""

    site: Site

    @property
    def id(self) -> str:
        """The site's name."""
        return self.site.name

    @property
    def question(self) -> str:
        """The goal, as a user would put it."""
        return self.site.goal

    @property
    def environment(self) -> JsonValue:
        """The episode that a request names."""
        site = self.site
        reset: JsonValue = {"level": site.level, "kind": site.kind, "seed": site.seed, "open_book": site.open_book}
        return {"name": "site", "reset": reset}

    def check(self, answer: str) -> bool:
        """Whether it is the wanted code, bare or as the action `answer k 4`."""
        return self.site.judge(answer.strip().lower().removeprefix("answer")) == 1.0


def problems(wanted: str, split: str, n: int, seed: int = 0) -> Sequence[Problem]:
    """The first `n` sites of a split, from the `seed`-th million of seeds on."""
    size, kind, *control = wanted.split("-")
    seeds = (number for number in count(seed * 1_000_000) if split_of(number) == split)
    names = (f"{size}-{kind}-{number}{'-open' if control else ''}" for number in islice(seeds, n))
    return [Problem(Site.named(name)) for name in names]
