"""One site, one walk through it, and the walk as an `Environment`.

Rule: an action that cannot be carried out leaves the agent where it is and says so; only an answer ends the walk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from decoders.core.errors import EnvironmentFailed, InvalidRequest
from decoders.environments.base import Observation
from decoders.environments.site.catalogue import LEVELS, Kind
from decoders.environments.site.generator import generate
from decoders.environments.site.pages import DONE, document

_ACTION = re.compile(r"open (?P<link>.+)|(?P<back>back)|answer (?P<answer>.+)")
_NAME = re.compile(rf"(\d)-({'|'.join(get_args(Kind))})-(\d{{1,18}})(-open)?")
BAD = "bad action"
ACTIONS = "and answer with its code. Actions: open LINK, back, answer CODE"


class Site:
    """A site and its task. `ValueError` for a level that does not exist."""

    def __init__(self, level: int = 2, kind: Kind = "find", seed: int = 0, *, open_book: bool = False) -> None:
        if level not in LEVELS:
            raise ValueError(f"there is no level {level}: there are {', '.join(map(str, LEVELS))}")
        self.level = level
        self.kind = kind
        self.seed = seed
        self.open_book = open_book
        self.pages, self.wanted, self.place = generate(level, kind, seed, open_book)

    @classmethod
    def named(cls, name: str) -> Site:
        """The site of a name; `ValueError` for anything else."""
        if not (match := _NAME.fullmatch(name)):
            raise ValueError(f"not a site: {name!r}")
        return cls(int(match[1]), cast("Kind", match[2]), int(match[3]), open_book=bool(match[4]))

    @property
    def name(self) -> str:
        """`2-find-7`, under which its pages are served."""
        return f"{self.level}-{self.kind}-{self.seed}{'-open' if self.open_book else ''}"

    @property
    def goal(self) -> str:
        """What the agent is to do."""
        good = self.wanted
        return f"find the {'cheapest' if self.kind == 'cheapest' else good.material} {good.colour} {good.noun}"

    def judge(self, answer: str) -> float:
        """1 for the code that is wanted, however it is spaced; 0 for all else."""
        return float("".join(answer.lower().split()).rstrip(".") == self.wanted.code.replace(" ", ""))

    def html(self, page: int) -> str:
        """A page for browsers; `IndexError` where there is none."""
        return self.pages[page].html(self.name)

    def ending(self, answer: str) -> str:
        """What a browser sees after an answer."""
        return document(DONE, f"<p>{DONE}</p>", reward=self.judge(answer))


def read(action: str) -> re.Match[str] | None:
    """An action taken apart, whatever its case and spaces; None for what is none."""
    return _ACTION.fullmatch(" ".join(action.lower().split()))


class Walk:
    """Where an agent is on a site, and how it came there. `back` on the first page stays there."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._trail = [0]
        self.reward: float | None = None
        """The answer's, once there is one."""

    @property
    def text(self) -> str:
        """The page."""
        return self.site.pages[self._trail[-1]].text

    def act(self, action: str) -> bool:
        """Carry out `open harp 2`, `back` or `answer k 4`; False where that is impossible."""
        links = dict(self.site.pages[self._trail[-1]].links)
        match = read(action)
        if match is None or self.reward is not None:
            return False
        if match["answer"]:
            self.reward = self.site.judge(match["answer"])
        elif match["back"]:
            del self._trail[max(1, len(self._trail) - 1) :]
        elif match["link"] in links:
            self._trail.append(links[match["link"]])
        else:
            return False
        return True


class Reset(BaseModel):
    """The arguments of an episode."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    level: int = Field(2, ge=min(LEVELS), le=max(LEVELS))
    """Size, 1 to 4."""
    kind: Kind = "find"
    """`find` the one that fits, or the `cheapest` of several."""
    seed: int = Field(0, ge=0, lt=10**18)
    """Which site; multiples of ten are for testing."""
    open_book: bool = False
    """A control: all goods are listed on the first page."""


class SiteEnvironment:
    """An episode on a site. Raises `InvalidRequest` for arguments that no site has."""

    def __init__(self, reset: Mapping[str, JsonValue] | None = None) -> None:
        try:
            chosen = Reset.model_validate(reset or {})
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(("environment", "reset", *map(str, problem["loc"])))
            raise InvalidRequest(f"{place}: {problem['msg']}", param="environment") from None
        self.walk = Walk(Site(chosen.level, chosen.kind, chosen.seed, open_book=chosen.open_book))

    async def start(self) -> Observation:
        """The first page and the goal."""
        return Observation(self.walk.text, goal=f"{self.walk.site.goal} {ACTIONS}")

    async def step(self, action: str) -> Observation:
        """The page after the action. `EnvironmentFailed` after the end."""
        if self.walk.reward is not None:
            raise EnvironmentFailed("the episode is over")
        possible = self.walk.act(action)
        if self.walk.reward is not None:
            return Observation(DONE, reward=self.walk.reward, done=True)
        return Observation(self.walk.text if possible else f"{BAD}\n{self.walk.text}", error=not possible)

    def answer(self, action: str) -> str | None:
        """The code of `answer k 4`."""
        match = read(action)
        return match["answer"] if match else None

    async def aclose(self) -> None:
        """Nothing is held."""
