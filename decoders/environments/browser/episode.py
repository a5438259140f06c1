"""An episode in a browser. Rule: it has a context of its own, which is closed with it whatever has happened."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from playwright.async_api import Error

from decoders.core.errors import EnvironmentFailed
from decoders.environments.base import Observation
from decoders.environments.browser import actions
from decoders.environments.browser.actions import Impossible
from decoders.environments.browser.chromium import Chromium
from decoders.environments.browser.tab import Tab, View, gone, script
from decoders.environments.browser.tasks import Task
from decoders.environments.options import BrowserOptions

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Page, Route

_CONTEXT: dict[str, Any] = {
    "accept_downloads": False,
    "service_workers": "block",
    "viewport": {"width": 1280, "height": 720},
    "locale": "en-US",
    "timezone_id": "UTC",
}


class BrowserEpisode:
    """A task in a tab."""

    def __init__(self, chromium: Chromium, task: Task, options: BrowserOptions) -> None:
        self._chromium, self._task, self._options = chromium, task, options
        self._context: BrowserContext | None = None
        self._tab: Tab | None = None

    async def start(self) -> Observation:
        """Open a context and begin the task in it."""
        try:
            self._context = await self._chromium.open(**_CONTEXT)
            goal = await self._begin(self._context)
            seen = await self._see()
        except Error as error:
            raise EnvironmentFailed(f"the page cannot be opened: {_first_line(error)}") from error
        told = f"Actions, one at a time: {actions.forms(self._task.verbs)}. N is the number of an element in brackets."
        return Observation(seen.text, goal=f"{goal}\n{told}" if goal else told)

    async def step(self, action: str) -> Observation:
        """Carry out the action, wait for what comes of it, and look."""
        assert self._tab is not None
        trouble = ""
        try:
            done = actions.read(action, self._task.verbs)
            if done.verb == "answer":
                if done.rest:
                    return Observation("The answer was given.", done=True)
                raise Impossible("answer needs a text: answer TEXT")
            async with asyncio.timeout(3 * self._options.action_seconds):
                await actions.perform(done, self._tab)
        except TimeoutError as error:
            raise EnvironmentFailed("the page does not answer") from error
        except Impossible as error:
            trouble = str(error)
        except Error as error:
            if gone(error):
                raise EnvironmentFailed(f"the page is gone: {_first_line(error)}") from error
            trouble = _first_line(error)
        try:
            return await self._outcome(trouble)
        except Error as error:
            raise EnvironmentFailed(f"the page is gone: {_first_line(error)}") from error

    def answer(self, action: str) -> str | None:
        """The text of `answer TEXT`, where the task takes answers."""
        try:
            read = actions.read(action, self._task.verbs)
        except Impossible:
            return None
        return read.rest if read.verb == "answer" and read.rest else None

    async def aclose(self) -> None:
        """Close the context."""
        context, self._context = self._context, None
        if context is not None:
            await self._chromium.leave(context)

    async def _begin(self, context: BrowserContext) -> str:
        milliseconds = self._options.action_seconds * 1000
        context.set_default_timeout(milliseconds)
        await context.add_init_script(script("tame.js"))
        await context.route("**/*", self._on_route)
        page = await context.new_page()
        context.on("page", _close)
        self._tab = Tab(page, self._task, self._options.action_seconds, self._options.max_observation_chars)
        return await self._task.begin(page)

    async def _see(self) -> View:
        assert self._tab is not None
        await self._tab.settle()
        return await self._tab.look()

    async def _outcome(self, trouble: str) -> Observation:
        assert self._tab is not None
        seen = await self._see()
        if end := await self._task.judge(self._tab.page, seen.reward):
            return Observation("The episode is over.", reward=end.reward, done=True)
        text = f"Not done: {trouble}\n{seen.text}" if trouble else seen.text
        return Observation(text, error=bool(trouble))

    async def _on_route(self, route: Route) -> None:
        with suppress(Error):
            if await self._task.allows(route.request.url):
                await route.continue_()
            else:
                await route.abort("blockedbyclient")


async def _close(page: Page) -> None:
    with suppress(Error):
        await page.close()


def _first_line(error: Error) -> str:
    """What Playwright says, without its log of tries."""
    message = error.message.partition("\nCall log")[0]
    for covered in error.message.splitlines():
        if "intercepts pointer events" in covered:
            return f"{message.splitlines()[0]}: something else covers it"
    return message.splitlines()[0][:300] if message else type(error).__name__
