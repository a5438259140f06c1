"""`python -m tests.docs.walk`: do what the pages say, in a fresh clone, as somebody would who has nothing else.

Rule: a step is run word for word, or it is told with a reason from `rules` that it was not. 1 where a step failed.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.docs import rules
from tests.docs.markdown import ROOT, Page, pages
from tests.docs.session import Failed, Session
from tests.docs.steps import Step, steps


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a step: it was `done`, `skipped` for the reason in `about`, or `failed` with what it printed."""

    what: str
    status: str
    about: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        took = f" ({self.seconds:.0f} s)" if self.seconds >= 1 else ""
        return f"{self.status:8}{self.what}{took}" + (f"\n        {self.about}" if self.about else "")


def walk(
    page: Page, session: Session, before: Sequence[str] = (), skips: Sequence[rules.Skip] = (), *, dry: bool = False
) -> Iterator[Outcome]:
    """The steps of a page behind what it takes for granted, one after the other."""
    for command in before:
        yield _tried(f"{page.path} takes for granted: {command}", session, command, dry=dry)
    for step in steps(page):
        if why := rules.reason(step, skips):
            yield Outcome(step.title, "skipped", why)
        elif step.kind == "python":
            yield _tried(step.title, session, step.text, python=rules.PRELUDES.get(str(page.path), "pass"), dry=dry)
        else:
            for needed in rules.needed(step):
                yield _tried(f"{page.path} takes for granted: {needed}", session, needed, dry=dry)
            command = rules.smaller(step.text)
            told = step.title if command == step.text else f"{step.title}\n        run as: {command}"
            yield _tried(told, session, command, step, dry=dry)


def _tried(
    what: str, session: Session, text: str, step: Step | None = None, *, python: str = "", dry: bool = False
) -> Outcome:
    began = time.monotonic()
    try:
        if not dry:
            said = session.python(f"{python}\n{text}") if python else session.run(text)
            _compare(step.shown if step else "", said)
    except Failed as failed:
        return Outcome(what, "FAILED", str(failed)[-4000:], time.monotonic() - began)
    return Outcome(what, "to do" if dry else "done", "", time.monotonic() - began)


def _compare(shown: str, said: str) -> None:
    """Raises `Failed` unless the output is what the page shows, `…` being anything."""
    parts = [re.escape(" ".join(part.split())) for part in shown.split("…")]
    if not re.search(".*".join(parts), " ".join(said.split())):
        raise Failed(f"the page shows\n{shown}but this was printed:\n{said}")


def clone(folder: Path) -> None:
    """What is committed, and nothing else."""
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder)], check=True)


def existing(environment: Path, folder: Path, scratch: Path) -> dict[str, str]:
    """Variables under which an environment that is there already stands for the one that a page would make."""
    commands = scratch / "bin"
    commands.mkdir()
    python = environment.absolute() / "bin" / "python"
    (commands / "longthink").write_text(f'#!/bin/sh\nexec {python} -m server "$@"\n')
    (commands / "longthink").chmod(0o755)
    path = f"{commands}:{python.parent}:{os.environ['PATH']}"
    return {**_clean(), "PATH": path, "PYTHONPATH": str(folder)}


def _clean() -> dict[str, str]:
    """The variables of a user who has set none of ours and is in no virtual environment; nothing is installed there."""
    ours = ("LONGTHINK_", "OPENAI_", "VIRTUAL_ENV", "PYTHONPATH", "MAKE", "MFLAGS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    inside = os.environ.get("VIRTUAL_ENV", sys.prefix)
    return {
        **kept,
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PATH": ":".join(p for p in kept["PATH"].split(":") if not p.startswith(inside)),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Walk the pages and tell every step."""
    parser = argparse.ArgumentParser(prog="python -m tests.docs.walk", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--page", action="append", help="only these pages, such as docs/api.md")
    parser.add_argument("--list", action="store_true", help="tell what would be done, and why what would not")
    parser.add_argument(
        "--environment", type=Path, help="use this virtual environment and make none (not for the README)"
    )
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    chosen = [page for page in pages() if options.page is None or str(page.path) in options.page]
    counts: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="longthink-walk-") as name:
        folder, scratch = Path(name, "longthink"), Path(name, "scratch")
        if not options.list:
            clone(folder)
        for page in chosen:
            for outcome in _page(page, folder, scratch / page.path.stem / page.path.parent.name, options):
                counts[outcome.status] = counts.get(outcome.status, 0) + 1
                print(outcome, flush=True)
    print(", ".join(f"{count} {status}" for status, count in counts.items()))
    return 1 if "FAILED" in counts else 0


def _page(page: Page, folder: Path, scratch: Path, options: argparse.Namespace) -> Iterator[Outcome]:
    """A page in a terminal of its own."""
    scratch.mkdir(parents=True)
    environment: Mapping[str, str] = _clean()
    setup = rules.SETUP if str(page.path) not in rules.BARE else ()
    lent: tuple[rules.Skip, ...] = ()
    if options.environment is not None:
        environment, setup, lent = existing(options.environment, folder, scratch), (), rules.LENT
    session = Session(folder, scratch, environment)
    try:
        yield from walk(page, session, (*setup, *rules.BEFORE.get(str(page.path), ())), lent, dry=options.list)
    finally:
        session.close()


if __name__ == "__main__":
    sys.exit(main())
