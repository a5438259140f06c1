"""A page, once: as text for models and as HTML for browsers. Rule: both say the same words in the same order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from html import escape

HOME, CLOSED, DONE = "home", "closed", "done"


@dataclass(frozen=True)
class Page:
    """A heading, lines that are read, and links: names, no two the same, and the numbers of pages."""

    title: str
    lines: tuple[str, ...]
    links: tuple[tuple[str, int], ...]

    @cached_property
    def text(self) -> str:
        """`at strings`, the lines, then the links: `harp 1`, `harp 2`."""
        return "\n".join((f"at {self.title}", *self.lines, *(name for name, _ in self.links)))

    def html(self, site: str) -> str:
        """A whole document; `site` is the name under which the pages of this site are served."""
        lines = "".join(f"<p>{escape(line)}</p>" for line in self.lines)
        links = "".join(f'<li><a href="/{site}/{page}">{escape(name)}</a></li>' for name, page in self.links)
        main = f"<h1>at {escape(self.title)}</h1>{lines}<ul>{links}</ul>"
        form = (
            f'<form action="/{site}/answer"><label>code <input name="code" autocomplete="off"></label>'
            "<button>answer</button></form>"
        )
        return document(self.title, main, form)


def document(title: str, main: str, form: str = "", reward: float | None = None) -> str:
    """HTML around the words of a page; a reward, once there is one, is an attribute for whoever judges the episode."""
    judged = "" if reward is None else f' data-reward="{reward:g}"'
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<title>{escape(title)}</title><link rel="icon" href="data:,"><style>ul{{list-style:none}}</style>'
        f"<main{judged}>{main}</main>{form}</html>"
    )
