"""Scripted walkers against what the sites imply: success is a matter of where a good stands on the walker's way.

Nothing here acts on a site. The way is laid out from the page graph: into every worthwhile link and back out, likeliest
first. A walker has seen a good of the right noun after as many steps as the way has up to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from decoders.environments.site import KINDS, LEVELS, Site, Walker, play
from decoders.environments.site.catalogue import HALL_OF, HALLS, SHELF_OF

BUDGETS = (2, 4, 8, 16, 32, 64)
N = 80


@cache
def site(level: int, kind: str, seed: int, open_book: bool = False) -> Site:
    return Site(level, kind, seed, open_book=open_book)  # type: ignore[arg-type]


def way(site: Site, page: int = 0) -> Iterator[int]:
    """Pages in the order of a whole walk through the tree of the site."""
    yield page
    shelf = SHELF_OF[site.wanted.noun]
    liked = [site.wanted.noun, shelf, HALL_OF[shelf]]
    places = [*HALLS, *HALL_OF]
    links = [(name.rstrip(" 123456789"), n) for name, n in site.pages[page].links]
    links = [(label, n) for label, n in links if label in liked or label in places]
    for label, n in sorted(links, key=lambda link: liked.index(link[0]) if link[0] in liked else 3):
        if not label.startswith("see"):
            yield from way(site, n)
            yield page


def sightings(site: Site) -> dict[int, int]:
    """Pages of the right noun, in the order in which they come up, with the steps to each."""
    found: dict[int, int] = {}
    for steps, page in enumerate(way(site)):
        if site.pages[page].title == site.wanted.noun:
            found.setdefault(page, steps)
    return found


def expected(site: Site, budget: int, answers: float) -> bool:
    """Whether the wanted good is seen in time, and among the first so many of its noun."""
    seen = sightings(site)
    return seen[site.place] <= budget and list(seen).index(site.place) < answers


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", LEVELS)
def test_success_is_what_the_sites_imply_at_every_budget(level: int, kind: str) -> None:
    sites = [site(level, kind, 10 * i) for i in range(N)]
    for budget in BUDGETS:
        for eager, min_answers, limit in ((False, 1, 99), (False, 2, 99), (True, 1, 1), (True, 2, 2), (True, 3, 3)):
            for one in sites:
                played = play(one, Walker(one.goal, eager), budget, min_answers)
                wanted = expected(one, budget, limit)
                assert played.reward == wanted, (one.name, budget, eager, min_answers)
                assert played.steps <= budget
                assert 1 <= played.answers <= max(1, min_answers)


def test_a_larger_budget_helps_the_thorough_and_a_second_look_the_eager() -> None:
    sites = [site(3, "find", 10 * i) for i in range(N)]

    def share(eager: bool, budget: int, min_answers: int) -> float:
        return sum(play(s, Walker(s.goal, eager), budget, min_answers).reward for s in sites) / N

    assert share(False, 2, 1) < share(False, 8, 1) < share(False, 64, 1) == 1.0
    assert share(True, 4, 1) == share(True, 64, 1)
    assert share(True, 64, 1) < share(True, 64, 2) < share(True, 64, 3) < 1.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", LEVELS)
def test_with_the_book_open_no_step_is_needed(level: int, kind: str) -> None:
    for i in range(40):
        one = site(level, kind, 10 * i, open_book=True)
        for eager in (False, True):
            assert [play(one, Walker(one.goal, eager), budget).reward for budget in (0, 2, 64)] == [1.0] * 3


def test_a_walker_that_has_seen_nothing_says_so() -> None:
    one = site(3, "find", 10)
    assert play(one, Walker(one.goal), 0) == play(one, Walker(one.goal, eager=True), 0)
    assert play(one, Walker(one.goal), 0).reward == 0.0
    with pytest.raises(ValueError, match="not a goal"):
        Walker("buy milk")


def test_a_walker_goes_on_after_a_bad_action() -> None:
    one = site(3, "find", 10)
    assert Walker(one.goal).act(f"bad action\n{one.pages[0].text}") == Walker(one.goal).act(one.pages[0].text)
