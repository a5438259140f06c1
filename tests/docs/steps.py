"""What a reader of a page would do, in its order: commands of code blocks and of sentences, and Python code.

Rule: nothing is left out here. What is not to be run is for `rules` to say, with a reason.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tests.docs import checks, parsing, shell
from tests.docs.markdown import Page, Piece

PROGRAMS = (*shell.PROGRAMS, "docker", "kubectl", "helm", "accelerate", "torchrun", "uv", "vllm")
"""A block without a language is commands where one of its lines begins with one of these."""
PROMPT = "$ "


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do; `shown` is the output that the page shows. Sentences only name commands that are incomplete."""

    piece: Piece
    kind: Literal["command", "python", "named"]
    shown: str = ""

    @property
    def text(self) -> str:
        """The command, or the code."""
        return self.piece.text

    @property
    def title(self) -> str:
        """In one line."""
        first, *more = self.text.splitlines()
        return f"{self.piece.place} {first}{' …' if more else ''}"


def steps(page: Page) -> list[Step]:
    """In the order of the page."""
    found: list[Step] = []
    for block in page.blocks:
        if block.kind == "python":
            found.append(Step(block, "python"))
        elif is_shell(block):
            found += _commands(block)
    found += [Step(code, "command" if complete(code) else "named") for code in page.codes if names_program(code.text)]
    return sorted(found, key=lambda step: step.piece.line)


def is_shell(block: Piece) -> bool:
    """Whether a code block is one of commands."""
    if block.kind:
        return block.kind in shell.SHELLS
    return any(names_program(line) for line in block.text.splitlines())


def names_program(line: str) -> bool:
    """Whether a line begins with a program and has words for it."""
    words = shell._ASSIGNMENTS.sub("", line, count=1).split()
    return len(words) > 1 and words[0].rpartition("/")[2] in PROGRAMS


def complete(code: Piece) -> bool:
    """Whether a command in a sentence could be typed as it stands, as far as our own programs can tell."""
    words = code.text.split()
    if len(words) == 2 and words[0] != "make":
        return False  # the name of a command
    try:
        for command in shell._commands(code, partial=False):
            checks._check(command)
    except parsing.Refused:
        return False
    return True


def _commands(block: Piece) -> Iterator[Step]:
    """Each with every choice that it leaves; lines without the prompt are output where others have one."""
    prompted = any(line.startswith(PROMPT) for line in block.text.splitlines())
    text, shown, first = "", "", 0
    for number, line in enumerate(block.text.splitlines(), block.line):
        whole = bool(text) and _is_whole(text)
        if whole and prompted and not line.startswith(PROMPT):
            shown += line + "\n"
            continue
        if whole:
            yield from _readings(Piece(block.page, first, text, block.kind, block.heading), shown)
            text, shown = "", ""
        if not text and (not line.strip() or line.startswith("#")):
            continue
        first = first if text else number
        text = f"{text}\n{line}" if text else line.removeprefix(PROMPT)
    if text:
        yield from _readings(Piece(block.page, first, text, block.kind, block.heading), shown)


def _is_whole(text: str) -> bool:
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return not text.endswith("\\")


def _readings(piece: Piece, shown: str) -> Iterator[Step]:
    for text in shell._readings(piece.text):
        yield Step(Piece(piece.page, piece.line, text, piece.kind, piece.heading), "command", shown)
