"""`python -m tests.docs.generate`: tables of the docs that only repeat what the code says, written from the code.

A page marks where: `<!-- generated: NAME -->` … `<!-- end -->`, with the name of a table of this module. Rule: a table
has every member of its kind, so that nothing is added to the code in silence.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.__main__ import COMMANDS as BENCHMARKS
from benchmarks.report import rewritten
from server.model_options import ModelOptions
from tests.docs import existing
from tests.docs.markdown import ROOT, pages


def metrics() -> str:
    """Every metric, in the order of the names."""
    rows = (
        (f"`{name}`", kind, ", ".join(f"`{label}`" for label in labels), help)
        for name, (kind, help, labels) in sorted(existing.metrics().items())
    )
    return _table(("metric", "kind", "labels", "meaning"), rows)


def settings() -> str:
    """Every setting of `longthink serve`, the server's own before those of its model."""
    found = existing.settings()
    groups = {name.rpartition(".")[0] for name in found}
    names = [name for name in found if name not in groups]
    rows = (
        (f"`{name}`", _default(found[name].default), found[name].description or "")
        for name in sorted(names, key=lambda name: name.split(".")[0] in ModelOptions.model_fields)
    )
    return _table(("setting", "default", "meaning"), rows)


def _default(value: Any) -> str:
    if value is None or value in ({}, []):
        return "none"
    return "on" if value is True else "off" if value is False else f"`{value}`"


def benchmarks() -> str:
    """Every benchmark."""
    return _table(
        ("command", "what it measures or makes"), ((f"`longthink bench {n}`", t) for n, t in BENCHMARKS.items())
    )


def recipes() -> str:
    """Every recipe and study, with the first line of its module."""
    return _table(("module", "what it is"), ((f"`{path}`", text) for path, text in _modules("recipes", "studies")))


def _modules(*folders: str) -> Iterator[tuple[str, str]]:
    """Modules of `training/` with their first line, read and not imported, which would load torch."""
    for folder in folders:
        for path in sorted((ROOT / "training" / folder).glob("[!_]*.py")):
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            yield str(path.relative_to(ROOT)), text.split("\n\n")[0]


TABLES: Mapping[str, Callable[[], str]] = {t.__name__: t for t in (metrics, settings, benchmarks, recipes)}


def _table(header: Sequence[str], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(' '.join(cell.split()).replace('|', '∣') for cell in line)} |" for line in lines)


def render(text: str) -> str:
    """A page with every block as the code has it. `KeyError` for a table that there is not."""
    return rewritten(text, "generated", lambda name, inside: TABLES[name]())


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite or check all pages; 1 where the check fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.docs.generate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing, say which pages are out of date")
    options = parser.parse_args(arguments)
    old = [page for page in pages() if render(page.text) != page.text]
    for page in old:
        if not options.check:
            (ROOT / page.path).write_text(render(page.text), encoding="utf-8")
        print(f"{page.path} {'is out of date: make docs' if options.check else 'is written anew'}")
    return 1 if old and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
