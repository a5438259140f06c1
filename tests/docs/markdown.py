"""Pages of the documentation taken apart: code, inline code, links, headings and tables, each with its line.

Rule: nothing is judged here; a piece knows where it stands, so that whoever judges it can say so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PAGES = (
    *map(Path, ("README.md", "CONTRIBUTING.md", "docker/README.md")),
    *sorted(path.relative_to(ROOT) for path in (ROOT / "docs").glob("*.md")),
)
_MARKDOWN = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True, slots=True)
class Piece:
    """A text at a place; `kind` is the language of a code block, `heading` the section that it stands under."""

    page: Path
    line: int
    text: str
    kind: str = ""
    heading: str = ""

    @property
    def place(self) -> str:
        """For messages, in the form that editors and terminals make a link of."""
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Page:
    """One file: its path in the repository and what is in it."""

    path: Path
    text: str

    @cached_property
    def blocks(self) -> list[Piece]:
        """Code blocks, fenced or indented; `line` is that of their first line of code."""
        found, heading = [], ""
        for token, inline in self._tokens:
            heading = inline.content if token.type == "heading_open" else heading
            if token.type in ("fence", "code_block"):
                first = token.map[0] + 1 + (token.type == "fence")
                found.append(Piece(self.path, first, token.content, token.info.strip(), heading))
        return found

    def fences(self, kind: str) -> list[Piece]:
        """The code blocks of one language."""
        return [block for block in self.blocks if block.kind == kind]

    @cached_property
    def codes(self) -> list[Piece]:
        """Inline code."""
        return [Piece(self.path, line, t.content, "", h) for t, line, h in self._children() if t.type == "code_inline"]

    @cached_property
    def links(self) -> list[Piece]:
        """Where links and pictures lead."""
        targets = ((t.attrGet("href") or t.attrGet("src"), line, h) for t, line, h in self._children())
        return [Piece(self.path, line, str(target), "", h) for target, line, h in targets if target]

    @cached_property
    def rows(self) -> list[list[Piece]]:
        """The rows of all tables, the heads among them, cell by cell."""
        found: list[list[Piece]] = []
        heading = ""
        for token, inline in self._tokens:
            heading = inline.content if token.type == "heading_open" else heading
            if token.type == "tr_open":
                found.append([])
            elif token.type in ("th_open", "td_open"):
                found[-1].append(Piece(self.path, (token.map or inline.map)[0] + 1, inline.content, "", heading))
        return found

    @cached_property
    def anchors(self) -> set[str]:
        """What GitHub lets links to this page end in."""
        found: list[str] = []
        for token, inline in self._tokens:
            if token.type == "heading_open":
                words = "".join(t.content for t in inline.children or () if t.type in ("text", "code_inline"))
                slug = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
                found.append(slug + (f"-{found.count(slug)}" if slug in found else ""))
        return set(found)

    @cached_property
    def _tokens(self) -> list[tuple[Token, Token]]:
        """Each token with the one behind it: the inline content of a heading or a cell follows its opening."""
        tokens = _MARKDOWN.parse(self.text)
        return list(zip(tokens, [*tokens[1:], tokens[-1]], strict=True))

    def _children(self) -> Iterator[tuple[Token, int, str]]:
        """What stands in paragraphs, headings and cells, with its line: markdown-it knows only that of the block."""
        heading = ""
        for token, inline in self._tokens:
            heading = inline.content if token.type == "heading_open" else heading
            line = token.map[0] + 1 if token.map else 0
            for child in token.children or () if token.type == "inline" else ():
                line += child.type in ("softbreak", "hardbreak")
                yield child, line, heading


@cache
def read(path: Path) -> Page:
    """The page at this path in the repository, taken apart once."""
    return Page(path, (ROOT / path).read_text(encoding="utf-8"))


def pages() -> list[Page]:
    """All that speak of the project as it is."""
    return [read(path) for path in PAGES]
