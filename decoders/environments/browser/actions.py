"""The actions of a browser, as lines of text. Rule: what cannot be done says why, in words that help to do it right."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.async_api import ElementHandle, Page

    from decoders.environments.browser.tab import Tab

FORMS = {
    "click": "click N",
    "type": "type N TEXT",
    "select": "select N OPTION",
    "press": "press KEY",
    "scroll": "scroll down",
    "back": "back",
    "wait": "wait",
    "goto": "goto URL",
    "answer": "answer TEXT",
}
_OPTIONAL = frozenset({"goto", "answer"})
_LINE = re.compile(rf"\s*({'|'.join(FORMS)})\b[ \t:]*(.*?)\s*", re.IGNORECASE | re.DOTALL)
_NUMBERED = re.compile(r"\[?(\d{1,5})\]?(?:\s+(.*))?", re.DOTALL)
_KEY = re.compile(r"[\w+-]{1,40}")
_FILLED = ("date", "time", "month", "week", "datetime-local", "color", "range")
"""Inputs whose value is set, since their keys depend on the language of the browser."""
_SCROLL = """(element, pages) => {
    while (element && element.scrollHeight <= element.clientHeight + 1) element = element.parentElement;
    element = element || document.scrollingElement;
    element.scrollBy(0, pages * element.clientHeight);
}"""


class Impossible(Exception):
    """The action cannot be carried out; the message is for the agent. Does not leave this folder."""


@dataclass(frozen=True, slots=True)
class Action:
    """A verb and what stands behind it."""

    verb: str
    rest: str = ""

    @property
    def target(self) -> int:
        """The number of the element."""
        return self._parts()[0]

    @property
    def text(self) -> str:
        """What stands behind the number."""
        return self._parts()[1]

    def _parts(self) -> tuple[int, str]:
        match = _NUMBERED.fullmatch(self.rest)
        if match is None:
            raise Impossible(f"{self.verb} needs the number of an element: {FORMS[self.verb]}")
        return int(match[1]), match[2] or ""


def forms(allowed: frozenset[str]) -> str:
    """The actions that there are, for the agent."""
    return ", ".join(form for verb, form in FORMS.items() if verb not in _OPTIONAL or verb in allowed)


def read(line: str, allowed: frozenset[str]) -> Action:
    """The action in a line."""
    match = _LINE.fullmatch(line)
    if match is None or (match[1].lower() in _OPTIONAL and match[1].lower() not in allowed):
        raise Impossible(f"not an action here; the actions are {forms(allowed)}")
    return Action(match[1].lower(), match[2])


async def perform(action: Action, tab: Tab) -> None:
    """Carry out an action, all but `answer`. Raises `Impossible`, or Playwright's errors."""
    page = tab.page
    if action.verb == "press":
        if not _KEY.fullmatch(action.rest):
            raise Impossible("press needs the name of a key, such as Enter, Tab, ArrowDown or Control+a")
        await page.keyboard.press(action.rest)
    elif action.verb == "back":
        await _back(page)
    elif action.verb == "goto":
        await tab.goto(action.rest)
    elif action.verb == "wait":
        await page.wait_for_timeout(1000)
    elif action.verb == "scroll":
        await _scroll(action, tab)
    else:
        await _on(await tab.element(action.target), action, page)


async def _on(element: ElementHandle, action: Action, page: Page) -> None:
    if action.verb == "click":
        await element.click()
    elif action.verb == "select":
        await _select(element, action.text)
    elif (await element.get_attribute("type") or "").lower() in _FILLED:
        await element.fill(action.text)
    else:
        # key by key, as a person types: pages listen to that
        await element.fill("")
        await page.keyboard.type(action.text)


async def _select(element: ElementHandle, text: str) -> None:
    options = await element.evaluate("e => [...(e.options || [])].map(o => [o.label.trim(), o.value])")
    if not options:
        raise Impossible("this is no list of options: click it instead")
    wanted = [part.strip().strip('"') for part in text.split("|")]
    chosen = []
    for want in wanted:
        found = next((i for i, option in enumerate(options) if want in option), None)
        if found is None:
            known = ", ".join(repr(label) for label, _ in options[:40])
            raise Impossible(f"there is no option {want[:80]!r}: there are {known}")
        chosen.append(found)
    await element.select_option(index=chosen)


async def _scroll(action: Action, tab: Tab) -> None:
    *target, way = action.rest.lower().split() or ["down"]
    if way not in ("up", "down") or len(target) > 1:
        raise Impossible("scroll goes up or down: scroll down, or scroll N down")
    pages = 0.8 if way == "down" else -0.8
    if target:
        element = await tab.element(Action("scroll", target[0]).target)
        await element.evaluate(_SCROLL, pages)
    else:
        await tab.page.evaluate(f"(pages) => ({_SCROLL})(document.scrollingElement, pages)", pages)


async def _back(page: Page) -> None:
    if await page.go_back(wait_until="domcontentloaded") is None:
        raise Impossible("there is nothing to go back to")
