"""Small scripted policies that solve MiniWoB++ tasks from what the browser environment shows.

A policy is a function of the goal, the page as it is shown now, and the actions so far; so it can as well stand behind
a model's API, where all that there is are the messages of one request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

Policy = Callable[[str, str, Sequence[str]], str]
LINE = re.compile(r"^\[(\d+)\] (.*)$", re.MULTILINE)


def find(page: str, pattern: str, nth: int = 0) -> str:
    """The number of the line that matches; `LookupError` where there is none."""
    return [number for number, line in LINE.findall(page) if re.search(pattern, line)][nth]


def quoted(goal: str) -> list[str]:
    return re.findall(r'"([^"]*)"', goal.partition("\nActions")[0])


def exactly(text: str) -> str:
    return rf'"{re.escape(text)}"'


def steps(*plan: Callable[[str, str], str]) -> Policy:
    """One action after another, whatever the page says."""

    def act(goal: str, page: str, done: Sequence[str]) -> str:
        return plan[min(len(done), len(plan) - 1)](goal, page)

    return act


def click(pattern: str, nth: int = 0) -> Callable[[str, str], str]:
    return lambda goal, page: f"click {find(page, pattern, nth)}"


def click_quoted(kind: str = "", place: int = 0) -> Callable[[str, str], str]:
    return lambda goal, page: f"click {find(page, kind + exactly(quoted(goal)[place]))}"


def fill(pattern: str, text: Callable[[str, str], str], nth: int = 0) -> Callable[[str, str], str]:
    return lambda goal, page: f"type {find(page, pattern, nth)} {text(goal, page)}"


def click_named(kind: str, name: Callable[[str, str], str]) -> Callable[[str, str], str]:
    return lambda goal, page: f"click {find(page, f'^{kind} {exactly(name(goal, page))}')}"


def choose(names: Callable[[str, str], str]) -> Callable[[str, str], str]:
    return lambda goal, page: f"select {find(page, '^combobox')} {names(goal, page).replace(', ', ' | ')}"


SUBMIT = click(r'^button "(Submit|Login|Search)"')


def said(pattern: str) -> Callable[[str, str], str]:
    def text(goal: str, page: str) -> str:
        match = re.search(pattern, goal)
        assert match is not None
        return match[1]

    return text


def first_quoted(goal: str, page: str) -> str:
    return quoted(goal)[0]


def second_quoted(goal: str, page: str) -> str:
    return quoted(goal)[1]


def iso_date(goal: str, page: str) -> str:
    month, day, year = re.findall(r"\d+", goal)[:3]
    return f"{year}-{int(month):02}-{int(day):02}"


def iso_time(goal: str, page: str) -> str:
    match = re.search(r"(\d+):(\d+) (AM|PM)", goal)
    assert match is not None
    return f"{int(match[1]) % 12 + 12 * (match[3] == 'PM'):02}:{match[2]}"


def button_of_dialog(goal: str, page: str) -> str:
    return "Close" if quoted(goal)[0] == "x" else quoted(goal)[0]


def word(goal: str, page: str) -> str:
    text = LINE.findall(page)[0][1].partition('"')[2]
    return re.findall(r"\w+", text)[int(said(r"the (\d+)")(goal, page)) - 1]


def cell(goal: str, page: str) -> str:
    match = re.search(rf'text {exactly(said("value of (.*) into")(goal, page))}\n\[\d+\] text "(.*)"', page)
    assert match is not None
    return match[1]


def box(goal: str, page: str) -> str:
    return f"click {find(page, '^textbox', int(said(r'the (.)(?:st|nd|rd)')(goal, page)) - 1)}"


def arithmetic(goal: str, page: str) -> str:
    match = re.search(r"(\d+) ([-+x]) (\d+) =", page)
    assert match is not None
    left, right = int(match[1]), int(match[3])
    result: int = {"+": left + right, "-": left - right, "x": left * right}[match[2]]
    return str(result)


def checkboxes(goal: str, page: str, done: Sequence[str]) -> str:
    match = re.search(r"Select (.*) and click", goal)
    assert match is not None
    wanted = [] if match[1] == "nothing" else match[1].split(", ")
    for name in wanted:
        if not re.search(rf"checkbox {exactly(name)} checked", page):
            return f"click {find(page, rf'^checkbox {exactly(name)}')}"
    return SUBMIT(goal, page)


def tabs(goal: str, page: str, done: Sequence[str]) -> str:
    """Look behind every tab until the link is there."""
    wanted = quoted(goal)[0]
    try:
        return f"click {find(page, rf'^item {exactly(wanted)}')}"
    except LookupError:
        opened = len([action for action in done if action.startswith("click")])
        return f"click {find(page, r'^tab ', min(opened + 1, 2))}"


def guesses(goal: str, page: str, done: Sequence[str]) -> str:
    """Go where the page says, one number at a time: it shows only what it said to the last guess."""
    if len(done) % 2:
        return SUBMIT(goal, page)
    hint = re.search(r'(higher|lower) than"\n\[\d+\] text "(\d+)"', page)
    guess = int(hint[2]) + (1 if hint[1] == "higher" else -1) if hint else 5
    return f"type {find(page, '^spinbutton')} {guess}"


def stars(goal: str, page: str, done: Sequence[str]) -> str:
    """The icon in the row of the sender."""
    match = re.search(r"email by (\w+) and click the (star|trash)", goal)
    assert match is not None
    row = page.index(f'text "{match[1]}"')
    return f"click {find(page[row:], rf'^span {exactly(match[2])}')}"


POLICIES: Mapping[str, Policy] = {
    "choose-list": steps(choose(said("Select (.*) from the list")), SUBMIT),
    "click-button": steps(click_quoted("^button ")),
    "click-button-sequence": steps(click('"ONE"'), click('"TWO"')),
    "click-checkboxes": checkboxes,
    "click-checkboxes-large": checkboxes,
    "click-collapsible": steps(click('^tab "Section'), SUBMIT),
    "click-dialog": steps(click('^button "Close"')),
    "click-dialog-2": steps(click_named("button", button_of_dialog)),
    "click-link": steps(click_quoted("^item ")),
    "click-option": steps(click_named("radio", said("Select (.*) and click")), SUBMIT),
    "click-scroll-list": steps(choose(said("Select (.*) from the scroll")), SUBMIT),
    "click-tab": steps(click_named("link", said("(Tab #.)"))),
    "click-tab-2": tabs,
    "click-test": steps(click('"Click Me!"')),
    "click-test-2": steps(click('"ONE"')),
    "email-inbox-important": stars,
    "enter-date": steps(fill("^textbox", iso_date), SUBMIT),
    "enter-password": steps(fill("^textbox", first_quoted), fill("^textbox", first_quoted, 1), SUBMIT),
    "enter-text": steps(fill("^textbox", first_quoted), SUBMIT),
    "enter-text-dynamic": steps(fill("^textbox", first_quoted), SUBMIT),
    "enter-time": steps(fill("^textbox", iso_time), SUBMIT),
    "find-word": steps(fill("^textbox", word), SUBMIT),
    "focus-text": steps(click("^textbox")),
    "focus-text-2": steps(box),
    "guess-number": guesses,
    "login-user": steps(fill("^textbox", first_quoted), fill("^textbox", second_quoted, 1), SUBMIT),
    "read-table": steps(fill("^textbox", cell), SUBMIT),
    "simple-arithmetic": steps(fill("^textbox", arithmetic), SUBMIT),
}
