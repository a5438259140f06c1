"""`longthink bench page`: writes measured figures into the pages of the docs, from what `longthink bench figures` kept.

A page marks where: `<!-- results: VIEW FILE+FILE WORDS -->` … `<!-- end -->`, with a view of this module, files of
`--data` without their ending, and what the view wants to know besides. `written FILE` is a table as a command has
written it, `survey TASK TASK` what a survey has left.
Rule: no figure of such a block is written by hand.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from math import log
from pathlib import Path

from benchmarks import cli
from benchmarks.accuracy import HEADER, cells
from benchmarks.figures import Figures, Summary
from benchmarks.interaction import AXIS
from benchmarks.report import percent, rewritten, table
from benchmarks.rows import DamagedFile

PAGES = tuple(map(Path, ("README.md", "docs/decoders.md", "docs/results.md")))
DATA = Path("docs/data")


def settings(found: Sequence[Figures], words: str, inside: str) -> str:
    """All settings, as `longthink bench accuracy` shows them."""
    return table(HEADER[:-1], ([own.name, str(own.n), *cells(own)] for own in found))


def chosen(found: Sequence[Figures], words: str, inside: str) -> str:
    """The settings that the words name, separated by semicolons."""
    named = {own.name: own for own in found}
    lines = []
    for name in map(str.strip, words.split(";")):
        if name not in named:
            raise ValueError(f"nothing was measured with {name!r}")
        lines.append(
            [f"`{named[name].decoder}`, {_options(named[name])}", f"{named[name].tokens:,.0f}", _solved(named[name])]
        )
    return table(("decoder", "tokens a problem", "solved (95 % interval)"), lines)


def nearest(found: Sequence[Figures], words: str, inside: str) -> str:
    """A table whose lines begin with a decoder, its last three cells filled with the setting nearest to these tokens.

    Nearest in the logarithm: the rule chooses, so that nobody does. Decoders that were not measured keep their cells.
    """
    lines = []
    for line in inside.strip().splitlines():
        start = line.split("`")[1] if line.startswith("| [`") else ""
        own = [figures for figures in found if figures.decoder == start]
        if own:
            best = min(own, key=lambda figures: abs(log(figures.tokens / float(words))))
            line = "|".join(
                [*line.split("|")[:-4], f" {_solved(best)} ", f" {best.tokens:,.0f} ", f" {_options(best)} ", ""]
            )
        lines.append(line)
    return "\n".join(lines)


def interactions(found: Sequence[Figures], words: str, inside: str) -> str:
    """Success within the budgets of interactions that the words list, the last of them with its interval."""
    budgets, several = words.split(), len({own.model for own in found}) > 1
    lines: dict[tuple[str, str], list[str]] = {}
    for own in found:
        shown = str(own.options[AXIS])
        if shown in budgets:
            text = f"{100 * own.accuracy:.1f}" if shown != budgets[-1] else _solved(own).replace(" %", "")
            where = f"{own.model}, {own.level}" if several else own.level
            lines.setdefault((where, str(own.options["min_answers"])), []).append(text)
    return table(("sites", "`min_answers`", *budgets), ([*where, *shown] for where, shown in lines.items()))


VIEWS: Mapping[str, Callable[[Sequence[Figures], str, str], str]] = {
    view.__name__: view for view in (settings, chosen, nearest, interactions)
}


def written(data: Path, words: str) -> str:
    """A file that a command has written there with `--table`."""
    return (data / f"{words}.md").read_text(encoding="utf-8").strip()


def survey(data: Path, words: str) -> str:
    """What `longthink bench survey` has left of the families that the words list."""
    parts = []
    for task in words.split():
        name = f"survey-{task}"
        if not (data / f"{name}.json").is_file():
            parts.append(f"**{task}**: not measured yet.")
            continue
        found = Summary.load(data / f"{name}.json")
        first = found.figures[0]
        parts += [f"**{first.task} {first.level}**, `{first.model}`, {first.split} problems. {found.about}"]
        parts += [f"![Accuracy of every decoder on {task}]({name}.png)", settings(found.figures, "", "")]
        parts += [f"![Regret of every decoder on {task}]({name}-regret.png)", written(data, name)]
    return "\n\n".join(parts)


FOLDER_VIEWS: Mapping[str, Callable[[Path, str], str]] = {view.__name__: view for view in (written, survey)}
"""Views of more than figures."""


def _solved(figures: Figures) -> str:
    interval = figures.interval
    return f"{percent(figures.accuracy)} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def _options(figures: Figures) -> str:
    if figures.max_completion_tokens:
        return f"budget {figures.max_completion_tokens:,}"
    return ", ".join(f"{name} = {value}" for name, value in figures.options.items())


def render(page: str, data: Path = DATA) -> str:
    """The page with every block as the figures have it. `ValueError` for a block that cannot be written."""

    def write(words: str, inside: str) -> str:
        view, _, rest = words.partition(" ")
        if view in FOLDER_VIEWS:
            return FOLDER_VIEWS[view](data, rest)
        if view not in VIEWS:
            raise ValueError(f"there is no view {view!r}, only {', '.join([*VIEWS, *FOLDER_VIEWS])}")
        name, _, wanted = rest.partition(" ")
        found = [own for part in name.split("+") for own in Summary.load(data / f"{part}.json").figures]
        return VIEWS[view](found, wanted, inside)

    return rewritten(page, "results", write)


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = cli.parser("page", __doc__)
    made.add_argument(
        "pages", type=Path, nargs="*", default=PAGES, metavar="PAGE", help="default: those of the project"
    )
    made.add_argument("--data", type=Path, default=DATA, help=f"folder of the figures (default: {DATA})")
    made.add_argument("--check", action="store_true", help="change nothing, say which pages are out of date")
    return made


def main(argv: Sequence[str]) -> int:
    """Rewrite or check the pages; 1 where the check fails."""
    options = parser().parse_args(argv)
    old = []
    try:
        for page in options.pages:
            before = page.read_text(encoding="utf-8")
            after = render(before, options.data)
            if before != after:
                old.append(page)
                if not options.check:
                    page.write_text(after, encoding="utf-8")
    except (ValueError, DamagedFile, OSError) as error:
        print(f"longthink bench page: {error}", file=sys.stderr)
        return 2
    for page in old:
        print(f"{page} {'is out of date' if options.check else 'is written anew'}")
    return 1 if old and options.check else 0
