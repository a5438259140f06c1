"""`longthink bench suite`: many runs of `longthink bench accuracy` from one file, into one table.

A suite is a TOML file of `[[runs]]`: `decoder`, `sweep` (an option's values in turn), `set` (fixed options), `budget`.
Rule: a suite is nothing but a list of accuracy runs; what is finished in the output is not asked again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import accuracy
from benchmarks.endpoint import EndpointRefused
from benchmarks.report import provenance, publish
from benchmarks.rows import DamagedFile, Journal, Setting

SUITES = Path(__file__).parent / "suites"


def parser() -> argparse.ArgumentParser:
    """Those options of `accuracy` that are the same for all runs."""
    made = accuracy.parser()
    made.prog, made.description = "longthink bench suite", __doc__
    made.add_argument("suite", help=f"a TOML file, or the name of one of ours: {', '.join(names())}")
    made.add_argument("--only", metavar="D1,D2", help="only these decoders")
    return made


def names() -> list[str]:
    """The suites that come with the project."""
    return sorted(path.stem for path in SUITES.glob("*.toml"))


def settings(options: argparse.Namespace) -> list[Setting]:
    """All settings of the suite in its order; `ValueError` for a file that is no suite."""
    path = Path(options.suite)
    text = (path if path.is_file() else SUITES / f"{options.suite}.toml").read_text(encoding="utf-8")
    only = set(options.only.split(",")) if options.only else None
    found: dict[str, Setting] = {}
    for run in tomllib.loads(text).get("runs", []):
        if only is None or run.get("decoder") in only:
            chosen = accuracy.parser().parse_args([*_flags(run), "--output", str(options.output)])
            copied = {name: getattr(options, name) for name in ("model", "task", "level", "split", "problem_seed")}
            copied |= {name: getattr(options, name) for name in ("temperature", "seed", "samples")}
            found |= {s.key: s for s in accuracy.settings(argparse.Namespace(**{**vars(chosen), **copied}))}
    if not found:
        raise ValueError(f"{options.suite} holds no runs" + (f" of {options.only}" if only else ""))
    return list(found.values())


def _flags(run: Mapping[str, Any]) -> Iterator[str]:
    """A run as flags of `accuracy`."""
    unknown = run.keys() - {"decoder", "sweep", "set", "budget"}
    if unknown or "decoder" not in run:
        raise ValueError(f"a run has decoder, sweep, set and budget, not {', '.join(sorted(unknown)) or 'nothing'}")
    yield from ("--decoder", run["decoder"])
    for name, values in run.get("sweep", {}).items():
        yield from ("--sweep", f"{name}={','.join(map(str, values))}")
    for name, value in run.get("set", {}).items():
        yield from ("--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}")
    if "budget" in run:
        yield from ("--budget", ",".join(map(str, run["budget"])))


def main(argv: Sequence[str]) -> int:
    """Run the suite, print the table."""
    options = parser().parse_args(argv)
    try:
        wanted = settings(options)
        with Journal(options.output) as journal:
            asyncio.run(accuracy.measure(options, wanted, journal))
            rows = journal.rows
    except (ValueError, OSError, DamagedFile, EndpointRefused) as error:
        print(f"longthink bench suite: {error}", file=sys.stderr)
        return 2
    publish(f"{accuracy.summary(rows, wanted)}\n\n{provenance('suite', argv)}", options.table)
    keys = {setting.key for setting in wanted}
    return 1 if any(row.error for row in rows if row.key in keys) else 0
