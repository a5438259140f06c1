"""One Chromium for all episodes of a process, and a context of its own for each.

Rule: it is started for the first context and ended with the last one. Playwright ends it, too, when this process dies.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Awaitable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decoders.core.errors import EnvironmentFailed

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Playwright

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = (
    "--disable-quic",
    "--no-proxy-server",  # a proxy would resolve names itself, those that are kept out as well
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-gpu",
    "--dns-prefetch-disable",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
)

log = logging.getLogger("longthink")


def find(wanted: Path | None) -> Path:
    """The browser's program. `ValueError`, for the operator, where there is none."""
    if wanted is not None:
        if not wanted.is_file():
            raise ValueError(f"executable: there is no file {wanted}")
        return wanted
    for name in _NAMES:
        if found := shutil.which(name):
            return Path(found)
    raise ValueError(f"no browser on the PATH ({', '.join(_NAMES)}): apt-get install chromium-headless-shell")


class Chromium:
    """The browser. It resolves the names of `hosts` and no others, whatever a page or a redirect asks for."""

    def __init__(self, executable: Path, hosts: Iterable[str] = ()) -> None:
        self._executable, self._hosts = executable, sorted(set(hosts))
        self._changing = asyncio.Lock()
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None
        self._contexts: set[BrowserContext] = set()

    async def open(self, **options: Any) -> BrowserContext:
        """A new context; whoever opens it hands it to `leave`."""
        async with self._changing:
            if self._browser is None or not self._browser.is_connected():
                await self._end()
                await self._begin()
            assert self._browser is not None
            opening = asyncio.ensure_future(self._browser.new_context(**options))
            try:
                context = await asyncio.shield(opening)
            except asyncio.CancelledError:
                # the context comes into being all the same, and nobody else knows of it
                await _quietly(_close_late(opening))
                if not self._contexts:
                    await self._end()
                raise
            self._contexts.add(context)
            return context

    async def leave(self, context: BrowserContext) -> None:
        """Close a context, and the browser with the last one."""
        try:
            await _quietly(context.close())
        finally:
            self._contexts.discard(context)
            async with self._changing:
                if not self._contexts:
                    await self._end()

    async def aclose(self) -> None:
        """End the browser, whoever still uses it."""
        async with self._changing:
            self._contexts.clear()
            await self._end()

    async def _begin(self) -> None:
        from playwright.async_api import Error, async_playwright

        starting = asyncio.ensure_future(async_playwright().start())
        try:
            self._playwright = await asyncio.shield(starting)
            rules = ", ".join(["MAP * ~NOTFOUND", *(f"EXCLUDE {host}" for host in self._hosts)])
            flags = [*_FLAGS, f"--host-resolver-rules={rules}"]
            launching = self._playwright.chromium.launch(
                executable_path=self._executable,
                args=flags,
                chromium_sandbox=not hasattr(os, "geteuid") or os.geteuid() != 0,
                handle_sigint=False,
                handle_sigterm=False,
                handle_sighup=False,
            )
            self._browser = await launching
        except BaseException as error:
            await _quietly(self._take(starting))
            await self._end()
            if isinstance(error, Error):
                raise EnvironmentFailed(f"the browser does not start: {error.message}"[:500]) from error
            raise

    async def _end(self) -> None:
        browser, self._browser = self._browser, None
        playwright, self._playwright = self._playwright, None
        if browser is not None:
            await _quietly(browser.close())
        if playwright is not None:
            await _quietly(playwright.stop())

    async def _take(self, starting: Awaitable[Playwright]) -> None:
        self._playwright = await starting


async def _close_late(opening: Awaitable[BrowserContext]) -> None:
    await (await opening).close()


async def _quietly(work: Awaitable[None]) -> None:
    """Do what may fail because it is done already: what is being ended may have died by itself."""
    try:
        await work
    except Exception as error:
        log.debug("the browser ended by itself: %s: %s", type(error).__name__, error)
