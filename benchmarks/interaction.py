"""`longthink bench interaction`: success on the built-in sites over the budget of interactions.

Without `--policy` an endpoint is asked, an episode a request; the same weights serve every budget. With it, scripted
walkers play in this process. Rule: all write the rows of `accuracy`, so `compare` and `plot` read them as well: what
`--set think_tokens=` or `--set samples=` buy is compared at equal tokens there.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

from pydantic import JsonValue

from benchmarks import accuracy, cli
from benchmarks.endpoint import EndpointRefused
from benchmarks.figures import Figures
from benchmarks.report import percent, provenance, publish, table
from benchmarks.rows import DamagedFile, Journal, Row, Setting, by_setting
from benchmarks.statistics import wilson
from benchmarks.tasks.site import LEVELS, Problem, problems
from decoders.environments.site import Walker, play

POLICIES = {"thorough": False, "eager": True}
AXIS = "max_steps"
BUDGETS = "2,4,8,16,32,64"


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = cli.parser("interaction", __doc__)
    cli.add_endpoint(made)
    made.add_argument("--policy", choices=sorted(POLICIES), help="a scripted walker instead of the endpoint")
    made.add_argument("--level", default="2-find,3-find", metavar="L1,L2", help=f"of {', '.join(LEVELS)}")
    made.add_argument("--split", default="test", choices=("train", "dev", "test"))
    made.add_argument("--problems", type=int, default=200, help="sites of each level (default: 200)")
    made.add_argument("--problem-seed", type=int, default=0, help="which ones (default: 0)")
    made.add_argument("--max-steps", default=BUDGETS, metavar="V1,V2", help=f"budgets (default: {BUDGETS})")
    made.add_argument("--min-answers", default="1,2,3", metavar="V1,V2", help="default: 1,2,3")
    cli.add_options(made)
    made.add_argument("--temperature", type=float, help="default: the server's")
    made.add_argument("--seed", type=int, default=0, help="each episode's seed is derived from it (default: 0)")
    made.add_argument("--concurrency", type=int, default=16, help="requests in flight (default: 16)")
    made.add_argument("--retries", type=int, default=6, help="after 429, 503 and lost connections (default: 6)")
    made.add_argument("--give-up", type=int, default=50, metavar="N", help="stop after N errors in a row (default: 50)")
    made.add_argument("--output", type=Path, required=True, help="JSONL file; what is finished there is not done again")
    made.add_argument("--table", type=Path, help="Markdown file for the tables")
    made.add_argument("--picture", type=Path, help="PNG or SVG file")
    return made


def settings(options: argparse.Namespace) -> list[Setting]:
    """Level by level, the re-check rule and the budget of each; `ValueError` for a level that does not exist."""
    levels = options.level.split(",")
    if unknown := [level for level in levels if level not in LEVELS]:
        raise ValueError(f"site has no level {unknown[0]!r}: there are {', '.join(LEVELS)}")
    same = {name: getattr(options, name) for name in ("split", "problem_seed", "temperature", "seed")}
    same |= {"model": options.policy or options.model, "task": "site", "decoder": "tti", "axis": AXIS}
    fixed = cli.options(options.set)
    if taken := fixed.keys() & {AXIS, "min_answers"}:
        raise ValueError(f"{taken.pop()} is swept: it cannot be set")
    grid = product(levels, _numbers(options.min_answers), _numbers(options.max_steps))
    return [
        Setting.model_validate({**same, "level": level, "options": {**fixed, "min_answers": k, AXIS: h}})
        for level, k, h in grid
    ]


def _numbers(text: str) -> list[int]:
    return sorted({int(number) for number in text.split(",")})


def walk(setting: Setting, problem: Problem) -> Row:
    """An episode of a scripted walker; it generates no tokens."""
    min_answers, max_steps = int(str(setting.options["min_answers"])), int(str(setting.options[AXIS]))
    walker = Walker(problem.site.goal, POLICIES[setting.model])
    played = play(problem.site, walker, max_steps, min_answers)
    report: dict[str, JsonValue] = {"budget": max_steps, "steps": played.steps, "left": max_steps - played.steps}
    report |= {"answers": played.answers, "stopped": played.stopped, "reward": played.reward}
    same = {name: getattr(setting, name) for name in Setting.model_fields}
    asked = {"problem": problem.id, "request_seed": setting.problem_seed_of(problem.id)}
    got = {"correct": played.reward == 1.0, "finish": "stop", "answer": played.answer, "interaction": report}
    return Row.model_validate({**same, **asked, **got})


def measure(options: argparse.Namespace, wanted: Sequence[Setting], journal: Journal) -> None:
    """Do what is not yet in the journal. `EndpointRefused` when there is no point in going on."""
    for level in dict.fromkeys(setting.level for setting in wanted):
        own = [setting for setting in wanted if setting.level == level]
        if not options.policy:
            fixed = {"task": "site", "level": level, "steps": False, "judge": None, "judge_model": None}
            chosen = argparse.Namespace(**{**vars(options), **fixed})
            asyncio.run(accuracy.measure(chosen, own, journal))
            continue
        finished = journal.finished()
        sites = problems(level, options.split, options.problems, options.problem_seed)
        for setting in own:
            for problem in sites:
                if f"{setting.key}/{problem.id}" not in finished:
                    journal.append(walk(setting, problem))


def summary(rows: Iterable[Row], wanted: Sequence[Setting]) -> str:
    """For each level a table: a line a re-check rule, a column a budget, with 95 % Wilson intervals."""
    good = by_setting({row.id: row for row in rows if row.error is None}.values())
    budgets = sorted({int(str(setting.options[AXIS])) for setting in wanted})
    text = []
    for level in dict.fromkeys(setting.level for setting in wanted):
        lines = []
        own = [setting for setting in wanted if setting.level == level]
        for k in dict.fromkeys(str(setting.options["min_answers"]) for setting in own):
            cells = [good.get(s.key, []) for s in own if str(s.options["min_answers"]) == k]
            lines += [[f"min_answers={k}", *map(_share, cells)], ["  steps; stopped by budget", *map(_use, cells)]]
        sizes = sorted({len(good.get(setting.key, [])) for setting in own})
        title = f"{own[0].model}, {level}, {own[0].split}, n = {' to '.join(map(str, sizes))}"
        text.append(f"{title}\n\n{table(['success within', *map(str, budgets)], lines)}")
    return "\n\n".join(text)


def _share(rows: Sequence[Row]) -> str:
    if not rows:
        return "—"
    right = sum(row.correct for row in rows)
    interval = wilson(right, len(rows))
    return f"{percent(right / len(rows))} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _use(rows: Sequence[Row]) -> str:
    """Mean interactions, and the share of episodes that used them all up."""
    reports = [row.interaction for row in rows if isinstance(row.interaction, dict)]
    if not reports:
        return "—"
    steps = [float(str(report["steps"])) for report in reports]
    return f"{sum(steps) / len(steps):.1f}; {percent(sum(r['stopped'] == 'budget' for r in reports) / len(reports))}"


def main(argv: Sequence[str]) -> int:
    """Measure, print the tables, draw the picture."""
    options = parser().parse_args(argv)
    refused: EndpointRefused | None = None
    try:
        wanted = settings(options)
        with Journal(options.output) as journal:
            try:
                measure(options, wanted, journal)
            except EndpointRefused as error:
                refused = error
            rows = journal.rows
    except (ValueError, DamagedFile) as error:
        print(f"longthink bench interaction: {error}", file=sys.stderr)
        return 2
    publish(f"{summary(rows, wanted)}\n\n{provenance('interaction', argv)}", options.table)
    if options.picture:
        from benchmarks.canvas import save
        from benchmarks.interaction_picture import draw

        good = by_setting(row for row in rows if row.error is None)
        save(draw([Figures.of(good[setting.key]) for setting in wanted if setting.key in good]), options.picture)
    keys = {setting.key for setting in wanted}
    failed = sum(row.error is not None and row.key in keys for row in {row.id: row for row in rows}.values())
    if refused or failed:
        print(f"longthink bench interaction: {refused or f'{failed} episodes failed'}", file=sys.stderr)
    return 2 if refused else 1 if failed else 0
