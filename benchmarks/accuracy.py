"""`longthink bench accuracy`: the share of right answers of a decoder, over a sweep of its options.

Rule: nothing is silently wrong. A request that failed is no wrong answer: it is listed, left out of the share, asked
again at the next start, and makes the exit status 1.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from pydantic import JsonValue
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks import cli, samples, tasks
from benchmarks.endpoint import Endpoint, EndpointRefused, RequestFailed
from benchmarks.figures import Figures
from benchmarks.judge import Judge
from benchmarks.marking import Judged, Marker, Rules
from benchmarks.report import percent, provenance, publish, table
from benchmarks.rows import BUDGET, DamagedFile, Journal, Row, Setting

SHORTHANDS = ("turns", "n", "max_tokens")
TASKS = (
    f"{', '.join(tasks.names())} (default: countdown); published sets come from the Hugging Face hub, or, as in "
    "aime:FILE, from a .jsonl, .json, .csv or .parquet file or a folder of them"
)
LEVELS = (
    "a level of the task (default: hard); of a published set: all, a part of it such as 2025, or a range of its "
    "difficulties such as 4-6; one that does not exist is answered with those that do"
)
HEADER = ("setting", "n", "accuracy", "95 % interval", "mean tokens", "cut", "wrong of answered", "errors")


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = cli.parser("accuracy", __doc__)
    cli.add_endpoint(made)
    made.add_argument("--task", default="countdown", help=TASKS)
    made.add_argument("--level", default="hard", help=LEVELS)
    made.add_argument("--split", default="test", choices=("train", "dev", "test"))
    made.add_argument(
        "--problems", type=int, default=300, help="how many; more begin with the same ones (default: 300)"
    )
    made.add_argument("--problem-seed", type=int, default=0, help="which ones (default: 0)")
    made.add_argument("--decoder", default="direct", help="default: direct")
    made.add_argument("--sweep", action="append", default=[], metavar="NAME=V1,V2", help="an option's values in turn")
    for name in SHORTHANDS:
        flag = f"--{name.replace('_', '-')}"
        made.add_argument(flag, dest=name, metavar="V1,V2", help=f"short for --sweep {name}=V1,V2")
    made.add_argument("--budget", metavar="V1,V2", help=f"{BUDGET} of the request, one or several")
    cli.add_options(made)
    made.add_argument("--temperature", type=float, help="default: the server's")
    made.add_argument("--seed", type=int, default=0, help="each problem's seed is derived from it (default: 0)")
    made.add_argument(
        "--samples", type=int, default=1, metavar="N", help="of every problem, for pass@k and majority@k (default: 1)"
    )
    made.add_argument("--concurrency", type=int, default=64, help="requests in flight (default: 64)")
    made.add_argument("--retries", type=int, default=6, help="after 429, 503 and lost connections (default: 6)")
    made.add_argument("--give-up", type=int, default=50, metavar="N", help="stop after N errors in a row (default: 50)")
    made.add_argument(
        "--steps", action="store_true", help="keep what the steps answered, for `cutback` (longthink servers only)"
    )
    add_judge(made)
    made.add_argument(
        "--output", type=Path, required=True, help="JSONL file; what is finished there is not asked again"
    )
    made.add_argument("--table", type=Path, help="Markdown file for the table")
    return made


def add_judge(to: argparse.ArgumentParser) -> None:
    """Who judges answers that no rule can check."""
    to.add_argument("--judge", metavar="URL", help="base URL of a model that judges answers in free words")
    to.add_argument("--judge-model", help="its name there")
    to.add_argument("--judge-api-key", default=os.environ.get("JUDGE_API_KEY"), help="default: the environment's")


def settings(options: argparse.Namespace) -> list[Setting]:
    """The grid of all swept values; `ValueError` if an option is given twice."""
    swept = {name: str(getattr(options, name)) for name in SHORTHANDS if getattr(options, name) is not None}
    swept |= {BUDGET: options.budget} if options.budget else {}
    pairs = [*cli.pairs(options.sweep), *swept.items()]
    fixed = cli.options(options.set)
    names = [*(name for name, _ in pairs), *fixed]
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(f"option given twice: {', '.join(twice)}")
    axes = {name: [cli.value(text) for text in values.split(",")] for name, values in pairs}
    axis = next((name for name, values in axes.items() if len(values) > 1), next(iter(axes), ""))
    grid = (_setting(options, fixed | dict(zip(axes, point, strict=True)), axis) for point in product(*axes.values()))
    return samples.several(list({setting.key: setting for setting in grid}.values()), options.samples)


def _setting(options: argparse.Namespace, chosen: dict[str, JsonValue], axis: str) -> Setting:
    copied = ("model", "task", "level", "split", "problem_seed", "decoder", "temperature", "seed")
    fields = {name: getattr(options, name) for name in copied}
    rest = {name: value for name, value in chosen.items() if name != BUDGET}
    return Setting.model_validate({**fields, "options": rest, BUDGET: chosen.get(BUDGET), "axis": axis})


def request(setting: Setting, problem: tasks.Problem) -> dict[str, JsonValue]:
    """The body of one request."""
    optional: dict[str, JsonValue] = {BUDGET: setting.max_completion_tokens, "temperature": setting.temperature}
    optional["environment"] = problem.environment
    return {
        "model": setting.model,
        "messages": [{"role": "user", "content": problem.question}],
        "decoder": {"name": setting.decoder, **setting.options},
        "seed": setting.problem_seed_of(problem.id),
        **{name: value for name, value in optional.items() if value is not None},
    }


Job = tuple[Setting, tasks.Problem]


@dataclass(slots=True)
class Sweep:
    """The workers' common state: jobs are taken in turn, every row is written as it comes."""

    jobs: Iterator[Job]
    endpoint: Endpoint
    journal: Journal
    marker: Marker
    steps: bool
    progress: Progress
    bars: dict[str, object]
    give_up: int
    failures: int = 0
    """Errors since the last success."""
    right: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    async def run(self, workers: int) -> None:
        """Ask everything; `EndpointRefused` when there is no point in going on."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._work())
        except* EndpointRefused as refused:
            raise refused.exceptions[0] from None

    async def _work(self) -> None:
        for setting, problem in self.jobs:
            row = await self._row(setting, problem)
            self.journal.append(row)
            self._show(row)
            self.failures = self.failures + 1 if row.error else 0
            if self.failures >= self.give_up:
                raise EndpointRefused(f"{self.failures} errors in a row, the last: {row.error}")

    async def _row(self, setting: Setting, problem: tasks.Problem) -> Row:
        same = {
            **{name: getattr(setting, name) for name in Setting.model_fields},
            "problem": problem.id,
            "request_seed": setting.problem_seed_of(problem.id),
        }
        try:
            reply = await self.endpoint.ask(request(setting, problem), steps=self.steps)
            marked = await self.marker.mark(problem, reply)
        except RequestFailed as error:
            return Row.model_validate({**same, "error": str(error), "retries": error.retries})
        got = {name: getattr(reply, name) for name in reply.__dataclass_fields__}
        return Row.model_validate({**same, **got, **marked})

    def _show(self, row: Row) -> None:
        (self.errors if row.error else self.right if row.correct else self.wrong)[row.key] += 1
        done = self.right[row.key] + self.wrong[row.key]
        figures = f"{percent(self.right[row.key] / done) if done else '—':>7}"
        errors = f" [red]{self.errors[row.key]} errors[/]" if self.errors[row.key] else ""
        self.progress.update(self.bars[row.key], advance=1, figures=figures + errors)  # type: ignore[arg-type]


async def measure(options: argparse.Namespace, wanted: Sequence[Setting], journal: Journal) -> None:
    """Ask what is not yet in the journal. `ValueError` where nobody could say what is right."""
    _check_judge(options)
    problems = tasks.problems(options.task, options.level, options.split, options.problems, options.problem_seed)
    finished = journal.finished(options.judge_model, steps=options.steps)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), "{task.fields[figures]}", TimeRemainingColumn())
    progress = Progress(*[TextColumn(c) if isinstance(c, str) else c for c in columns], console=Console(stderr=True))
    jobs: list[Job] = []
    bars: dict[str, object] = {}
    for setting in wanted:
        new = [(setting, problem) for problem in problems if f"{setting.key}/{problem.id}" not in finished]
        done = len(problems) - len(new)
        bars[setting.key] = progress.add_task(setting.name, total=len(problems), completed=done, figures="")
        jobs += new
    asking = {"connections": options.concurrency, "retries": options.retries}
    async with Endpoint(options.url, api_key=options.api_key, **asking) as endpoint, AsyncExitStack() as stack:
        marker: Marker = Rules()
        if options.judge:
            theirs = Endpoint(options.judge, api_key=options.judge_api_key, **asking)
            judge = Judge(await stack.enter_async_context(theirs), options.judge_model, journal.rows)
            marker = Judged(judge)
        with progress:
            sweep = Sweep(iter(jobs), endpoint, journal, marker, options.steps, progress, bars, options.give_up)
            await sweep.run(min(options.concurrency, len(jobs)))


def _check_judge(options: argparse.Namespace) -> None:
    own = tasks.load(options.task)
    free = isinstance(own, tasks.QuestionSet) and own.schema.free
    if bool(options.judge) != bool(options.judge_model):
        raise ValueError("--judge and --judge-model belong together")
    if free and not options.judge:
        raise ValueError(f"no rule can check the answers of {options.task}: name a --judge and its --judge-model")
    if options.judge and not free:
        raise ValueError(f"the answers of {options.task} are checked by rule: they need no judge")
    if options.judge and options.steps:
        raise ValueError("--steps and --judge exclude each other: every step of every run would be judged")


def summary(rows: Sequence[Row], wanted: Sequence[Setting]) -> str:
    """The table: a line a setting, over the rows that are no errors; of several samples, what they make together."""
    if len({setting.seed for setting in wanted}) > 1:
        return samples.summary(rows, wanted)
    newest = {row.id: row for row in sorted(rows, key=lambda row: row.error is None)}
    lines = []
    for setting in wanted:
        own = [row for row in newest.values() if row.key == setting.key]
        good = [row for row in own if row.error is None]
        shown = cells(Figures.of(good)) if good else ["—"] * 5
        lines.append([setting.name, str(len(good)), *shown, str(len(own) - len(good))])
    unread = sum(row.verdict == "unclear" for row in newest.values())
    note = f"\n\n{unread} of the judge's replies had no verdict; their answers count as wrong." if unread else ""
    return table(HEADER, lines) + note


def cells(figures: Figures) -> list[str]:
    """A line of the table behind the setting's name and the number of problems."""
    interval = figures.interval
    return [
        percent(figures.accuracy),
        f"{100 * interval.low:.1f} to {100 * interval.high:.1f}",
        f"{figures.tokens:.0f}",
        percent(figures.cut / figures.n),
        f"{figures.wrong} of {figures.answered}",
    ]


def main(argv: Sequence[str]) -> int:
    """Run the sweep, print the table."""
    options = parser().parse_args(argv)
    refused: str | None = None
    try:
        wanted = settings(options)
        with Journal(options.output) as journal:
            try:
                asyncio.run(measure(options, wanted, journal))
            except EndpointRefused as error:
                refused = str(error)
            rows = journal.rows
    except (ValueError, DamagedFile) as error:
        print(f"longthink bench accuracy: {error}", file=sys.stderr)
        return 2
    publish(f"{summary(rows, wanted)}\n\n{provenance('accuracy', argv)}", options.table)
    keys = {setting.key for setting in wanted}
    errors = Counter(row.error for row in {row.id: row for row in rows}.values() if row.error and row.key in keys)
    for message, times in errors.most_common(10):
        print(f"{times} x {message}", file=sys.stderr)
    if refused:
        print(f"longthink bench accuracy: stopped: {refused}", file=sys.stderr)
    return 2 if refused else 1 if errors else 0
