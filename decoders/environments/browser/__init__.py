"""Web pages in a headless Chromium of this machine, over Playwright: MiniWoB++ tasks, or an operator's list of pages.

Rule: one browser for each configured environment, since it is the browser that resolves names and so decides what can
be reached, and one context an episode. Importing this folder needs Playwright.
"""

from __future__ import annotations

from collections.abc import Mapping

try:
    import playwright  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError("Playwright is not installed: pip install 'longthink[browser]'") from error

from decoders.environments.browser.chromium import Chromium, find
from decoders.environments.browser.episode import BrowserEpisode
from decoders.environments.browser.tasks import MiniWobTasks, PagesTasks
from decoders.environments.options import BrowserOptions, Scalar

__all__ = ["BrowserSource"]


class BrowserSource:
    """A kind of task, and the browser for it."""

    def __init__(self, options: BrowserOptions) -> None:
        self._options = options
        self._tasks = MiniWobTasks(options) if options.task == "miniwob" else PagesTasks(options)
        self._chromium = Chromium(find(options.executable), self._tasks.hosts)

    def episode(self, reset: Mapping[str, Scalar]) -> BrowserEpisode:
        """An episode of the task that `reset` chooses."""
        return BrowserEpisode(self._chromium, self._tasks.task(reset), self._options)

    async def aclose(self) -> None:
        """End the browser."""
        await self._chromium.aclose()
