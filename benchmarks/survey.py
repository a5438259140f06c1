"""`longthink bench survey`: every decoder on every family of a suite, as tables and pictures of the docs.

A suite with `[[families]]` beside its `[[runs]]`: `task`, `level`, `problems`, the `checkpoint` to serve, the command
that has `trained` it, the `environments` of its server. Each family gets a server of its own, and every run is tried on
it: what the server refuses because of what the model, its prompts or the task lack does not apply, and the page says
why. Rule: nothing of the survey is chosen after it was seen; what is finished in its folder is not asked again.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmarks import accuracy, cli, page, panels, regret, suite, tasks
from benchmarks.canvas import save
from benchmarks.curves import load
from benchmarks.endpoint import Endpoint, EndpointRefused, RequestFailed
from benchmarks.figures import Summary, summarised
from benchmarks.report import table
from benchmarks.rows import DamagedFile, Journal, Setting, read
from benchmarks.servers import serving

REFUSALS = frozenset({"decoder_not_supported", "unsupported_parameter"})


class Family(BaseModel):
    """A task with the model that solves it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    level: str
    problems: int
    checkpoint: Path
    trained: str = ""
    environments: str = ""


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = cli.parser("survey", __doc__)
    made.add_argument("suite", nargs="?", default="survey", help="a TOML file, or the name of one of ours")
    made.add_argument("--about", required=True, help="when it is measured, on what")
    made.add_argument("--families", default="", metavar="T1,T2", help="only these tasks")
    made.add_argument("--only", metavar="D1,D2", help="only these decoders")
    made.add_argument("--problems", type=int, help="of each family (default: the suite's)")
    made.add_argument(
        "--checkpoint", action="append", default=[], metavar="TASK=FOLDER", help="another one than the suite's"
    )
    made.add_argument("--split", default="test", choices=("train", "dev", "test"))
    made.add_argument("--concurrency", type=int, default=64, help="requests in flight (default: 64)")
    made.add_argument("--steps", action="store_true", help="keep what the steps answered, for `cutback` and `regret`")
    made.add_argument("--results", type=Path, default=Path("results"), help="folder of the rows (default: results)")
    made.add_argument("--data", type=Path, default=page.DATA, help=f"folder of the figures (default: {page.DATA})")
    made.add_argument("--pictures", type=Path, default=Path("docs"), help="folder of the pictures (default: docs)")
    made.add_argument("--page", type=Path, default=Path("docs/results.md"), help="written anew in the end")
    return made


def families(options: argparse.Namespace) -> list[Family]:
    """Those wanted, with their checkpoints. `ValueError` where one is not there."""
    path = Path(options.suite)
    text = (path if path.is_file() else suite.SUITES / f"{options.suite}.toml").read_text(encoding="utf-8")
    elsewhere = dict(cli.pairs(options.checkpoint))
    wanted = [name for name in options.families.split(",") if name]
    found = []
    for entry in tomllib.loads(text).get("families", []):
        family = Family.model_validate({**entry, **({"problems": options.problems} if options.problems else {})})
        if wanted and family.task not in wanted:
            continue
        family = family.model_copy(update={"checkpoint": Path(elsewhere.get(family.task, family.checkpoint))})
        if not family.checkpoint.is_dir():
            how = f": {family.trained}" if family.trained else ""
            raise ValueError(f"{family.task}: there is no checkpoint {family.checkpoint}{how}")
        found.append(family)
    if not found:
        raise ValueError(f"{options.suite} holds no families" + (f" of {options.families}" if wanted else ""))
    return found


@dataclass(frozen=True, slots=True)
class Measured:
    """What a family's survey has left: its rows, and the runs that do not apply, each with the reason."""

    family: Family
    rows: Path
    refused: dict[str, str]


def measure(family: Family, options: argparse.Namespace) -> Measured:
    """Serve the checkpoint and ask everything that applies and is not finished. `EndpointRefused`, `ValueError`."""
    rows = options.results / f"survey-{family.task}.jsonl"
    environment = {"LONGTHINK_ENVIRONMENTS": family.environments} if family.environments else {}
    name = family.checkpoint.name
    served = ("--model", str(family.checkpoint), "--served-name", name)
    with serving(*served, environment=environment) as (url, _):
        given = ["--url", url, "--model", name, "--task", family.task, "--level", family.level]
        given += ["--split", options.split, "--problems", str(family.problems), "--output", str(rows)]
        given += ["--concurrency", str(options.concurrency), *(["--steps"] if options.steps else [])]
        given += ["--only", options.only] if options.only else []
        asked = suite.parser().parse_args([options.suite, *given])
        wanted = suite.settings(asked)
        refused = asyncio.run(refusals(asked, wanted))
        with Journal(rows) as journal:
            asyncio.run(accuracy.measure(asked, [s for s in wanted if _run(s) not in refused], journal))
    return Measured(family, rows, refused)


async def refusals(options: argparse.Namespace, wanted: Sequence[Setting]) -> dict[str, str]:
    """The runs that the server refuses on the task's first problem, and why. `ValueError` for any other failure.

    Each is tried whole, with its first setting: what a decoder lacks may show late.
    """
    problem = tasks.problems(options.task, options.level, options.split, 1)[0]
    found: dict[str, str] = {}
    async with Endpoint(options.url) as endpoint:
        for setting in {_run(setting): setting for setting in reversed(wanted)}.values():
            try:
                await endpoint.ask(accuracy.request(setting, problem))
            except RequestFailed as error:
                if error.code not in REFUSALS:
                    raise ValueError(f"{setting.name}: {error}") from error
                found[_run(setting)] = str(error).partition(": ")[2]
    return found


def _run(setting: Setting) -> str:
    """A run of the suite, whatever its swept option's value: what a decoder needs may depend on its mode."""
    mode = setting.options.get("mode")
    return setting.decoder if mode is None else f"{setting.decoder} {mode}"


def publish(found: Measured, options: argparse.Namespace) -> Iterator[str]:
    """Write figures, pictures and tables of a family; the names of the files."""
    name = f"survey-{found.family.task}"
    with Journal(found.rows) as journal:
        figures = summarised(journal.rows)
    Summary(about=f"{options.about}: longthink bench survey", figures=figures).save(options.data / f"{name}.json")
    yield f"{options.data / name}.json"
    curves = load([found.rows])
    save(panels.draw(curves, ["self_consistency", "rc"]), options.pictures / f"{name}.png")
    compared = regret.compare(curves, runs=False, comparator="oracle", resamples=2000)
    text = [regret.markdown(compared, regret.powers(compared))]
    if found.refused:
        text.append(reasons(found.refused))
    (options.data / f"{name}.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")
    yield f"{options.data / name}.md"
    save(regret.draw(compared, ""), options.pictures / f"{name}-regret.png")


def reasons(refused: Mapping[str, str]) -> str:
    """The table of what does not apply: a line a reason."""
    runs: dict[str, list[str]] = {}
    for run, why in sorted(refused.items()):
        runs.setdefault(why.replace(f"the decoder {run.split()[0]}", "the decoder"), []).append(f"`{run}`")
    return table(("does not apply", "because"), ([", ".join(found), why] for why, found in runs.items()))


def main(argv: Sequence[str]) -> int:
    """Measure, write the files, write the page anew."""
    options, failed = parser().parse_args(argv), 0
    try:
        for family in families(options):
            found = measure(family, options)
            for written in publish(found, options):
                print(written)
            failed += sum(row.error is not None for row in read(found.rows))
    except (ValueError, OSError, DamagedFile, ValidationError, EndpointRefused) as error:
        print(f"longthink bench survey: {error}", file=sys.stderr)
        return 2
    except ImportError:
        print("longthink bench survey needs matplotlib: pip install '.[bench]'", file=sys.stderr)
        return 2
    if failed:
        print(f"{failed} requests failed: the same command asks them again", file=sys.stderr)
    return page.main([str(options.page), "--data", str(options.data)]) or min(failed, 1)
