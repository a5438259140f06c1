"""`longthink bench ladder`: from accuracy results to the table that the decoder `auto` chooses by.

Rule: a rung is a setting that no cheaper one equals, on the problems that all settings have finished. Its tokens are
the budget that it was measured under, or without one the most that any problem took: with that much nothing is cut.
Decoders that can stop at any time do well far below the latter: measure all under the same budgets (`--budget`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import cli
from benchmarks.report import percent, table
from benchmarks.rows import Row, Setting, by_setting, read
from decoders.prompts.ladder import Rung, write
from decoders.prompts.ladder import read as read_ladder

SAME = ("model", "task", "level", "split", "problem_seed")
"""What all results must have in common."""


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = cli.parser("ladder", __doc__)
    made.add_argument("files", nargs="+", type=Path, metavar="RESULTS", help="results of `accuracy`, JSONL")
    made.add_argument("--output", type=Path, required=True, help="the ladder.json of the model's template pack")
    made.add_argument(
        "--least-gain", type=float, default=0.0, metavar="SHARE", help="that a rung must add (default: 0)"
    )
    return made


def climb(rows: Sequence[Row], least_gain: float = 0.0) -> list[Rung]:
    """The rungs, by tokens. `ValueError` where results cannot be compared."""
    groups = list(by_setting(row for row in rows if row.error is None and row.decoder != "auto").values())
    settings = [group[0].setting for group in groups]
    if differing := [name for name in SAME if len({str(getattr(setting, name)) for setting in settings}) > 1]:
        raise ValueError(f"the results differ in {', '.join(differing)}: a ladder is for one of each")
    problems = set.intersection(*({row.problem for row in group} for group in groups)) if groups else set()
    if not problems:
        raise ValueError("no problem that every setting has finished")
    rungs: list[Rung] = []
    for tokens, share, setting in sorted(
        (_measured(group, problems) for group in groups), key=lambda found: (found[0], -found[1])
    ):
        if not rungs or share > (rungs[-1].accuracy or 0.0) + least_gain:
            rungs.append(_rung(tokens, share, setting, len(problems)))
    return rungs


def _measured(group: Sequence[Row], problems: set[str]) -> tuple[int, float, Setting]:
    own = [row for row in group if row.problem in problems]
    tokens = own[0].max_completion_tokens or max(row.completion_tokens for row in own)
    return max(tokens, 1), sum(row.correct for row in own) / len(own), own[0].setting


def _rung(tokens: int, share: float, setting: Setting, n: int) -> Rung:
    source = f"measured: {n} {setting.level} {setting.split} problems of {setting.task}, {setting.model}"
    return Rung(
        tokens=tokens, decoder=setting.decoder, options=dict(setting.options), accuracy=round(share, 4), source=source
    )


def main(argv: Sequence[str]) -> int:
    """Write the ladder and print it."""
    options = parser().parse_args(argv)
    try:
        rungs = climb([row for file in options.files for row in read(file)], options.least_gain)
        write(options.output, rungs)
        written = read_ladder(options.output)
    except (OSError, ValueError) as error:
        print(f"longthink bench ladder: {error}", file=sys.stderr)
        return 2
    print(table(("setting", "from tokens", "accuracy"), map(_line, written)))
    return 0


def _line(rung: Rung) -> list[str]:
    setting = " ".join([rung.decoder, *(f"{name}={value}" for name, value in rung.options.items())])
    return [setting, str(rung.tokens), percent(rung.accuracy or 0.0)]
