"""What is done in a browser: a MiniWoB++ task, or something on an operator's pages.

Rule: a task says where an episode may go, how it begins and when it is over; acting and looking are the same for all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from decoders.core.errors import EnvironmentFailed, InvalidRequest
from decoders.environments.browser.access import Folder, Hosts
from decoders.environments.options import BrowserOptions, Scalar

if TYPE_CHECKING:
    from playwright.async_api import Page

_FOREVER = 2**31 - 1
"""Milliseconds: the longest that a timer of a page can wait."""


@dataclass(frozen=True, slots=True)
class End:
    """The episode is over."""

    reward: float | None


class Task(Protocol):
    """One episode's task."""

    verbs: frozenset[str]
    """What can be done beyond the actions that every page has."""
    view: Mapping[str, Any]
    """How the page is looked at."""

    async def allows(self, url: str) -> bool:
        """Whether a page may load this."""
        ...

    async def begin(self, page: Page) -> str:
        """Go to where the episode starts; returns the goal."""
        ...

    async def judge(self, page: Page, reward: str | None) -> End | None:
        """Whether the page says that the episode is over; `reward` is what its reward attribute says."""
        ...


class MiniWob:
    """A MiniWoB++ task from its HTML, without a limit of time and with the reward before the discount for time."""

    verbs: frozenset[str] = frozenset()
    view: Mapping[str, Any] = {
        "every": True,
        "skip": "#query, #reward-display, #sync-task-cover, #click-canvas",
        "attribute": None,
    }

    def __init__(self, html: Path, name: str, seed: Scalar) -> None:
        self._page = html / "miniwob" / f"{name}.html"
        self._seed = seed
        self.allows = Folder(html).allows

    async def begin(self, page: Page) -> str:
        """Load the page, seed its randomness and start its one episode."""
        await page.goto(self._page.as_uri(), wait_until="load")
        script = """([seed, forever]) => {
            core.EPISODE_MAX_TIME = forever;
            Math.seedrandom(seed);
            core.startEpisodeReal();
        }"""
        await page.evaluate(script, [self._seed, _FOREVER])
        await page.wait_for_function("WOB_TASK_READY")
        told = await page.evaluate("core.getUtterance()")
        return str(told["utterance"] if isinstance(told, dict) else told)

    async def judge(self, page: Page, reward: str | None) -> End | None:
        """By the state that the page keeps."""
        over, raw = await page.evaluate("[WOB_DONE_GLOBAL, WOB_RAW_REWARD_GLOBAL]")
        return End(float(raw)) if over else None


class Pages:
    """Something on the operator's pages; an answer ends it, or a page with the reward attribute."""

    verbs = frozenset({"goto", "answer"})

    def __init__(self, options: BrowserOptions, hosts: Hosts, start: str) -> None:
        self.view: Mapping[str, Any] = {"every": False, "skip": None, "attribute": options.reward_attribute}
        self._start, self._goal = start, options.goal
        self.allows = hosts.allows

    async def begin(self, page: Page) -> str:
        """Go to the start."""
        if not await self.allows(self._start):
            raise EnvironmentFailed(f"{self._start} stands for a private address: set private")
        await page.goto(self._start, wait_until="domcontentloaded")
        return self._goal

    async def judge(self, page: Page, reward: str | None) -> End | None:
        """By the attribute of the page."""
        if reward is None:
            return None
        try:
            return End(float(reward))
        except ValueError:
            return End(None)


class MiniWobTasks:
    """The tasks in a folder. `ValueError`, for the operator, where there are none."""

    hosts: tuple[str, ...] = ()

    def __init__(self, options: BrowserOptions) -> None:
        self._html = (options.html or _packaged()).resolve()
        self.names = tuple(options.tasks or sorted(page.stem for page in (self._html / "miniwob").glob("*.html")))
        missing = [name for name in self.names if not (self._html / "miniwob" / f"{name}.html").is_file()]
        if missing or not self.names:
            raise ValueError(f"tasks: not in {self._html / 'miniwob'}: {', '.join(missing) or 'any task'}")

    def task(self, reset: Mapping[str, Scalar]) -> MiniWob:
        """The one that `reset` names."""
        _refuse_others(reset, "task", "seed")
        name = str(reset.get("task", self.names[0]))
        if name not in self.names:
            raise InvalidRequest(f"environment.reset.task: there is no {name[:80]!r}", param="environment")
        return MiniWob(self._html, name, reset.get("seed", 0))


class PagesTasks:
    """The start pages of the configuration."""

    def __init__(self, options: BrowserOptions) -> None:
        if not options.start:
            raise ValueError("start: a URL is needed to begin at")
        for url in options.start:
            if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
                raise ValueError(f"start: {url!r} is not an http(s) URL")
        self._options = options
        self.hosts = tuple(options.hosts or dict.fromkeys(str(urlsplit(url).hostname) for url in options.start))
        for host in self.hosts:
            # the names are written into a rule of the browser, where a comma would begin another
            if not re.fullmatch(r"(\*\.)?[\w.:-]+", host):
                raise ValueError(f"hosts: {host!r} is no name of a host")
        self._access = Hosts(self.hosts, private=options.private)

    def task(self, reset: Mapping[str, Scalar]) -> Pages:
        """The one that starts where `reset` says: a place in the list, or a URL that is in it."""
        _refuse_others(reset, "start", "seed")
        wanted, starts = reset.get("start", 0), self._options.start
        if isinstance(wanted, int) and 0 <= wanted < len(starts):
            return Pages(self._options, self._access, starts[wanted])
        if wanted in starts:
            return Pages(self._options, self._access, str(wanted))
        raise InvalidRequest("environment.reset.start: not one of the configured pages", param="environment")


def _packaged() -> Path:
    found = find_spec("miniwob")
    if found is None or found.origin is None:
        raise ValueError("MiniWoB++ is not installed: pip install miniwob, or set html")
    return Path(found.origin).parent / "html"


def _refuse_others(reset: Mapping[str, Scalar], *known: str) -> None:
    for name in reset:
        if name not in known:
            told = f"environment.reset.{name}: unknown; there are {', '.join(known)}"
            raise InvalidRequest(told, param="environment")
