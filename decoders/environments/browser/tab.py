"""The one tab of an episode: what it shows, what in it can be acted on, and when it has come to rest.

Rule: nothing is read from a page while another is on its way in its place, and no dialog, window or download of a page
holds up the episode.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from playwright.async_api import Error

from decoders.core.errors import EnvironmentFailed
from decoders.environments.browser.actions import Impossible

if TYPE_CHECKING:
    from playwright.async_api import Dialog, ElementHandle, JSHandle, Page, Request

    from decoders.environments.browser.tasks import Task

_PAINTED = """() => new Promise(done => {
    setTimeout(done, 100);
    requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 0)));
})"""
_HEADROOM = 600
"""Characters of an observation that are not the page's: address, title and notes."""
_MOVED = ("Execution context was destroyed", "Cannot find context", "Frame was detached", "navigat")
_GONE = ("crashed", "has been closed", "Target closed", "Browser closed", "Connection closed", "Connection terminated")


@cache
def script(name: str) -> str:
    """One of the scripts beside this file."""
    return (files(__package__) / name).read_text()


@dataclass(frozen=True, slots=True)
class View:
    """What a page shows."""

    text: str
    reward: str | None


class Tab:
    """A page under observation."""

    def __init__(self, page: Page, task: Task, seconds: float, limit: int) -> None:
        self.page = page
        self._task, self._seconds, self._limit = task, seconds, limit
        self._arrived = asyncio.Event()
        self._arrived.set()
        self._elements: JSHandle | None = None
        self._notes: list[str] = []
        self._going: set[asyncio.Task[None]] = set()
        page.on("request", self._on_request)
        page.on("requestfailed", self._on_failed)
        page.on("domcontentloaded", lambda _: self._arrived.set())
        page.on("dialog", self._on_dialog)
        page.on("download", lambda _: self._notes.append("(a download was refused)"))

    async def settle(self) -> None:
        """Wait until the page that an action led to is there and has been painted once; not longer than allowed."""
        try:
            async with asyncio.timeout(self._seconds):
                while True:
                    await self._arrived.wait()
                    with _moving():
                        await self.page.evaluate(_PAINTED)
                        if self._arrived.is_set():
                            return
        except TimeoutError:
            self._notes.append("(the page is still loading)")

    async def look(self) -> View:
        """What the page shows now."""
        wanted = {**self._task.view, "limit": max(self._limit - _HEADROOM, self._limit // 2)}
        try:
            async with asyncio.timeout(self._seconds):
                while True:
                    with _moving():
                        return await self._read(wanted)
                    await self._arrived.wait()
        except TimeoutError as error:
            raise EnvironmentFailed(f"the page does not answer within {self._seconds:g} s") from error

    async def element(self, number: int) -> ElementHandle:
        """An element of the last look. Raises `Impossible`."""
        handle = None
        if self._elements is not None and number > 0:
            handle = (await self._elements.evaluate_handle("(all, i) => all[i]", number - 1)).as_element()
        if handle is None:
            raise Impossible(f"there is no element {number}")
        return handle

    async def goto(self, url: str) -> None:
        """Go to an address, if it is allowed."""
        url = url if "://" in url else f"https://{url}"
        if not await self._task.allows(url):
            raise Impossible("that address is not allowed here")
        await self.page.goto(url, wait_until="domcontentloaded")

    async def _read(self, wanted: Mapping[str, Any]) -> View:
        seen = await self.page.evaluate_handle(script("view.js"), wanted)
        told = await seen.evaluate("({ text, url, title, reward }) => ({ text, url, title, reward })")
        if self._elements is not None:
            with suppress(Error):
                await self._elements.dispose()
        self._elements = await seen.get_property("elements")
        await seen.dispose()
        notes, self._notes = self._notes, []
        if not await self._task.allows(told["url"]):
            return View("(this page is not allowed here: go back)", None)
        head = [f"page {told['title']!r} {told['url']}"] if not told["url"].startswith("file:") else []
        return View("\n".join([*notes, *head, told["text"] or "(an empty page)"]), told["reward"])

    def _on_request(self, request: Request) -> None:
        if request.is_navigation_request() and request.frame == self.page.main_frame:
            self._arrived.clear()

    def _on_failed(self, request: Request) -> None:
        if request.is_navigation_request() and request.frame == self.page.main_frame:
            self._arrived.set()
            if "ABORTED" not in (request.failure or ""):
                self._notes.append(f"(a page did not load: {request.failure})")

    def _on_dialog(self, dialog: Dialog) -> None:
        self._notes.append(f"(a dialog said {dialog.message[:200]!r} and was dismissed)")
        task = asyncio.ensure_future(_dismiss(dialog))
        self._going.add(task)
        task.add_done_callback(self._going.discard)


async def _dismiss(dialog: Dialog) -> None:
    with suppress(Error):
        await dialog.dismiss()


class _moving(suppress):
    """Passes over what is said by a page that is just being replaced."""

    def __init__(self) -> None:
        super().__init__(Error)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        return isinstance(error, Error) and any(word in error.message for word in _MOVED) and not gone(error)


def gone(error: Error) -> bool:
    """Whether an error says that there is no page any more."""
    return any(word in error.message for word in _GONE)
