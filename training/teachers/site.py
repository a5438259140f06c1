"""The expert that shows `longthink-tiny-agent` how to search a site: a thorough walker with flaws put in on purpose.

It tends to answer with the first thing that has the right name, and thinks and goes on when it is told to look again:
both are learned. At more than every second chance that is no matter of luck, so a vote among samples does not cure it.
It sometimes takes a wrong link or says what cannot be done: only the recovery is learned. Rule: held-out seeds and
levels never occur.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from decoders.core.messages import Message
from decoders.core.thinking import CLOSE as END_THINK
from decoders.core.thinking import OPEN as THINK
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
            "want",
        ]
    )
)
"""Every word of the sites, their goals and actions."""


@dataclass(frozen=True, slots=True)
class Flaws:
    """How often the expert does what it should not, each a chance at every opportunity."""

    haste: float = 0.6
    """Answers with a good of the right noun before it has checked the rest."""
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

    @property
    def action(self) -> str:
        """What was said after the thought."""
        return self.said.rpartition(END_THINK)[2].strip()


class Expert:
    """One episode on one site, told in the words of the decoder `tti`.

    Unless it is hasty, it sets what it wants beside what it sees at every good of the right noun: the comparison, which
    a small model cannot make across a conversation, is then between neighbours.
    """

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
            turn = self._turn()
            yield turn
            if turn.action.startswith("answer"):
                answers += 1
                if answers >= min_answers:
                    return
                self._told = self._words("recheck", self._seen)
                continue
            steps += 1
            possible = self._walk.act(turn.action)
            self._seen = self._walk.text if possible else f"{BAD}\n{self._walk.text}"
            self._told = self._words("observe", self._seen)
        self._walker.look(View.of(self._walk.text))
        yield Turn(f"{self._told}\n\n{self._words('conclude', '')}", self._walker.answer())

    def _words(self, prompt: str, observation: str, **values: object) -> str:
        values = {"question": "", "goal": "", "tools": False, "omitted": False, **values}
        return self._pack.fill(prompt, observation=observation, **values)[0].content

    def _turn(self) -> Turn:
        rng, flaws, view = self._rng, self._flaws, View.of(self._walk.text)
        new = self._walker.look(view)
        if rng.random() < flaws.slip:
            return Turn(self._told, f"open {self._walker.wish.noun} {len(view.links) + rng.randint(1, 3)}", muted=True)
        if view.links and rng.random() < flaws.stray:
            return Turn(self._told, f"open {rng.choice(view.links)}", muted=True)
        if new and rng.random() < flaws.haste:
            return Turn(self._told, f"answer {view.facts['code']}")
        return Turn(self._told, self._thought(view) + self._walker.act(self._walk.text))

    def _thought(self, view: View) -> str:
        wish, facts = self._walker.wish, view.facts
        if view.title != wish.noun:
            return ""
        wanted = f"want {wish.material or wish.kind} {wish.colour}"
        return f"{THINK} {wanted} see colour {facts['colour']} made {facts['made']} {END_THINK} "


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
        expert = Expert(site, self._pack, rng, self._flaws)
        turns = list(expert.turns(budget, rng.choice((1, 3, 6))))
        messages = [m for turn in turns for m in (Message("user", turn.told), Message("assistant", turn.said))]
        return Row(tuple(messages), muted=frozenset(i for i, turn in enumerate(turns) if turn.muted))

    def site(self, levels: Mapping[int, float]) -> Site:
        """A site of the training split."""
        level = self._rng.choices(list(levels), list(levels.values()))[0]
        kind = self._rng.choices(KINDS, (3, 2))[0]
        while split_of(seed := self._rng.randrange(SEEDS)) != "train":
            pass
        return Site(level, kind, seed)
