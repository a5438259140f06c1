"""The expert that shows `longthink-tiny-agent` how to search a site: a thorough walker with flaws put in on purpose.

It tends to answer with what only looks right, and goes on when it is told to look again: both are learned. That flaw is
in what is seen, not in the luck of a draw, so no vote among samples cures it. It sometimes takes a wrong link or says
what cannot be done: only the recovery is learned. Rule: held-out seeds and levels never occur.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from decoders.core.messages import Message
from decoders.environments.site import KINDS, Site, Walk, Walker, split_of
from decoders.environments.site.catalogue import COLOURS, HALLS, MATERIALS, PRICES, SHELF_OF
from decoders.environments.site.episode import ACTIONS, BAD
from decoders.environments.site.policies import View
from decoders.prompts import Pack
from training.teachers.rows import Row

SEEDS = 10**9
"""Training sites are drawn from so many seeds."""
LONGEST = 48
"""Steps of an episode at most."""
WORDS = tuple(
    dict.fromkeys(
        [
            *map(str, range(max(PRICES) + 1)),
            *".,:",
            *"user assistant system at home closed done colour made price code item see none".split(),
            *"bad action find the cheapest and answer with its actions open link back look again now".split(),
            *"bcdfghjkmnpqrstvwxz",
            *HALLS,
            *dict.fromkeys(SHELF_OF.values()),
            *SHELF_OF,
            *COLOURS,
            *MATERIALS,
        ]
    )
)
"""Every word of the sites, their goals and actions."""


@dataclass(frozen=True, slots=True)
class Flaws:
    """How often the expert does what it should not, each a chance at every opportunity."""

    haste: float = 0.6
    """Answers with a good of the right noun and colour before it has checked the rest: the material, all prices."""
    stray: float = 0.04
    """Opens a link at random."""
    slip: float = 0.01
    """Says what cannot be done."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What the expert was told and what it said; a `muted` reply is not for imitation."""

    told: str
    said: str
    muted: bool = False


class Expert:
    """One episode on one site, told in the words of the decoder `tti`."""

    def __init__(self, site: Site, pack: Pack, rng: random.Random, flaws: Flaws) -> None:
        self._walk = Walk(site)
        self._pack = pack
        self._walker = Walker(site.goal)
        self._rng = rng
        self._flaws = flaws
        self._seen = self._walk.text
        self._told = self._words("act", self._walk.text, goal=f"{site.goal} {ACTIONS}")

    def turns(self, max_steps: int, min_answers: int) -> Iterator[Turn]:
        """The episode as the decoder would hold it."""
        steps = answers = 0
        while steps < max_steps:
            said, muted = self._say()
            yield Turn(self._told, said, muted)
            if said.startswith("answer"):
                answers += 1
                if answers >= min_answers:
                    return
                self._told = self._words("recheck", self._seen)
                continue
            steps += 1
            possible = self._walk.act(said)
            self._seen = self._walk.text if possible else f"{BAD}\n{self._walk.text}"
            self._told = self._words("observe", self._seen)
        self._walker.look(View.of(self._walk.text))
        yield Turn(f"{self._told}\n\n{self._words('conclude', '')}", self._walker.answer())

    def _words(self, prompt: str, observation: str, **values: object) -> str:
        values = {"question": "", "goal": "", "tools": False, "omitted": False, **values}
        return self._pack.fill(prompt, observation=observation, **values)[0].content

    def _say(self) -> tuple[str, bool]:
        rng, flaws, view = self._rng, self._flaws, View.of(self._walk.text)
        new = self._walker.look(view)
        if rng.random() < flaws.slip:
            return f"open {self._walker.wish.noun} {len(view.links) + rng.randint(1, 3)}", True
        if view.links and rng.random() < flaws.stray:
            return f"open {rng.choice(view.links)}", True
        if new and self._tempting(view) and rng.random() < flaws.haste:
            return f"answer {view.facts['code']}", False
        return self._walker.act(self._walk.text), False

    def _tempting(self, view: View) -> bool:
        """Whether a good has the right colour and, among those that fit, the lowest price so far."""
        best = self._walker.answer() == f"answer {view.facts['code']}"
        return view.facts["colour"] == self._walker.wish.colour and (best or self._walker.wish.kind == "find")


def _row(turns: Sequence[Turn]) -> Row:
    messages = [m for turn in turns for m in (Message("user", turn.told), Message("assistant", turn.said))]
    return Row(tuple(messages), muted=frozenset(i for i, turn in enumerate(turns) if turn.muted))


class SiteRows:
    """Draws episodes as conversations. Held-out sites never occur."""

    def __init__(self, pack: Pack, seed: int, flaws: Flaws) -> None:
        self._pack = pack
        self._rng = random.Random(seed)
        self._flaws = flaws

    def episode(self, levels: Mapping[int, float]) -> Row:
        """One episode on a training site of a level drawn by weight, ended by an answer or by its budget."""
        rng, site = self._rng, self.site(levels)
        budget = rng.randint(1, 24) if rng.random() < 0.25 else LONGEST
        return _row(list(Expert(site, self._pack, rng, self._flaws).turns(budget, rng.choice((1, 2, 3)))))

    def second_look(self) -> Row:
        """An episode up to the first look back at an answer, and nothing but what is said then is for imitation."""
        while True:
            expert = Expert(self.site({1: 0.4, 2: 0.6}), self._pack, self._rng, Flaws(1.0, 0.0, 0.0))
            turns = [replace(turn, muted=True) for turn in expert.turns(LONGEST, 2)]
            answers = [place for place, turn in enumerate(turns) if turn.said.startswith("answer")]
            if 0 < (end := answers[0] + 1) < len(turns):
                return _row([*turns[:end], replace(turns[end], muted=False)])

    def site(self, levels: Mapping[int, float]) -> Site:
        """A site of the training split."""
        level = self._rng.choices(list(levels), list(levels.values()))[0]
        kind = self._rng.choices(KINDS, (3, 2))[0]
        while split_of(seed := self._rng.randrange(SEEDS)) != "train":
            pass
        return Site(level, kind, seed)
