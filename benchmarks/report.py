"""Tables for people: Markdown, with the command, date and hardware that a figure is worth nothing without.

Rule: no secret and no host name gets into a report.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

SECRETS = ("--api-key", "--against-api-key", "--judge-api-key")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are figures and stand to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '∣') for cell in line)} |" for line in lines)


def percent(share: float) -> str:
    """`85.3 %`."""
    return f"{100 * share:.1f} %"


def provenance(command: str, argv: Sequence[str]) -> str:
    """What was run, when and on what."""
    shown = [_shown(before, word) for before, word in zip(["", *argv], argv, strict=False)]
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return f"`longthink bench {command} {shlex.join(shown)}`  \n{datetime.now(UTC):%Y-%m-%d}, client on {machine}"


def _shown(before: str, word: str) -> str:
    name, sign, _ = word.partition("=")
    return "KEY" if before in SECRETS else f"{name}=KEY" if sign and name in SECRETS else word


def rewritten(page: str, mark: str, write: Callable[[str, str], str]) -> str:
    """A page with all of its blocks `<!-- MARK: WORDS -->` … `<!-- end -->` written anew.

    `write` gets the words, and what stands in the block now.
    """
    block = re.compile(rf"(<!-- {mark}: ([^>]*?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
    return block.sub(lambda found: f"{found[1]}{write(' '.join(found[2].split()), found[3])}\n{found[4]}", page)


def publish(text: str, file: Path | None) -> None:
    """Print, and write to the file if there is one."""
    print(text)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")
