"""Commands as pages show them. Rule: what may be left out, chosen or filled in is read as a reader would.

`[--a | --b]` is one command without and one with each of them; `<name>` and `…` are blanks; in the middle of a
sentence a command may be quoted in part.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

from tests.docs.markdown import Page, Piece

PROGRAMS = ("longthink", "make", "python", "curl", "pip")
SHELLS = ("", "bash", "sh", "console")
_ASSIGNED = re.compile(r"[A-Z_]+=.*", re.DOTALL)
_ASSIGNMENTS = re.compile(r"""(\$ )?([A-Z_]+=('[^']*'|"[^"]*"|\S*)\s+)*""")
_CHOICE = re.compile(r"\s\[(-[^\]]*)\]")


@dataclass(frozen=True, slots=True)
class Command:
    """A program with its words; `partial` where a sentence only mentions it."""

    piece: Piece
    program: str
    words: tuple[str, ...]
    partial: bool

    def __str__(self) -> str:
        return shlex.join((self.program, *self.words))


def commands(page: Page) -> Iterator[Command]:
    """Those of the code blocks, then those in sentences."""
    for block in page.blocks:
        if block.kind in SHELLS:
            for line, text in _statements(block):
                yield from _commands(Piece(page.path, line, text, block.kind, block.heading), partial=False)
    for code in page.codes:
        yield from _commands(code, partial=True)


def _statements(block: Piece) -> Iterator[tuple[int, str]]:
    """Lines of a block, joined where a quotation or a `\\` goes on; what programs have printed is left out."""
    text, first = "", 0
    for number, line in enumerate(block.text.splitlines(), block.line):
        if not text:
            first = number
            if _program(_ASSIGNMENTS.sub("", line, count=1).split()) is None:
                continue
        text += line.removeprefix("$ ") if not text else f"\n{line}"
        if text.endswith("\\"):
            text = text[:-1]
            continue
        try:
            shlex.split(text, comments=True)
        except ValueError:
            continue
        yield first, text
        text = ""


def _program(words: list[str]) -> str | None:
    """The first word that is no assignment, without its folder, if it is a program that is checked."""
    first = next((word for word in words if not _ASSIGNED.match(word)), "")
    name = PurePath(first).name
    return name if name in PROGRAMS else None


def _commands(piece: Piece, *, partial: bool) -> Iterator[Command]:
    """The command in all its readings, commands behind `&&` and `;` too."""
    for text in _readings(piece.text):
        try:
            words = shlex.split(text, comments=not partial)
        except ValueError:
            continue
        for part in _parts(words):
            program = _program(part)
            if program is not None:
                assigned = next(i for i, word in enumerate(part) if PurePath(word).name == program)
                own = [word for word in part[:assigned] if program == "make"] + part[assigned + 1 :]
                yield Command(piece, program, tuple(own), partial)


def _readings(text: str) -> Iterator[str]:
    found = _CHOICE.search(text)
    if found is None:
        yield text
        return
    for choice in ("", *found[1].split("|")):
        yield from _readings(f"{text[: found.start()]} {choice.strip()}{text[found.end() :]}")


def _parts(words: list[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for word in words:
        if word in ("&&", ";", "|"):
            yield part
            part = []
        else:
            part.append(word)
    yield part
