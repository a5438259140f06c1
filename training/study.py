"""`longthink train study NAME`: does a recipe do what its paper claims? Arms x seeds x measurements, before and after.

Each module of `training/studies/` is a study. A run that is finished is not repeated, one that was killed goes on.
Rule: arms of a study start alike, spend the same compute and are measured on the same held-out problems.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from benchmarks.report import percent, table
from benchmarks.statistics import over_seeds
from training import record
from training.configuration import merged
from training.evaluate import Result
from training.settings import Evaluation


@dataclass(frozen=True)
class Arm:
    """A recipe with settings; `base` names an arm whose model this one starts from, `{seed}` in a path is the seed."""

    recipe: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = "tiny"
    base: str | None = None


class Study(Protocol):
    """What a module of `training/studies/` offers."""

    TITLE: str
    ARMS: Mapping[str, Arm]
    """Those that others start from come first."""
    MEASURES: Sequence[Evaluation]
    # A study may have `more(folder, arms, seeds)` besides: the heads and lines of a second table.


def names() -> list[str]:
    """Every study."""
    from training.__main__ import names

    return names("training.studies")


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="longthink train study", description=__doc__, allow_abbrev=False)
    made.add_argument("study", choices=names())
    made.add_argument("--seeds", default="1,2,3", help="training seeds (default: 1,2,3)")
    made.add_argument("--arms", help="only these arms")
    made.add_argument("--jobs", type=int, default=1, help="runs at a time, one CPU core each (default: 1)")
    made.add_argument("--output", type=Path, default=Path("results/studies"), help="folder of all studies")
    made.add_argument("--table", type=Path, help="Markdown file for the tables")
    made.add_argument("--report", action="store_true", help="only print the table of what is there")
    return made


def main(argv: Sequence[str]) -> int:
    """Run what is missing and print the table; 1 where a run failed."""
    options = parser().parse_args(argv)
    study = cast("Study", import_module(f"training.studies.{options.study}"))
    folder: Path = options.output / options.study
    arms = options.arms.split(",") if options.arms else list(study.ARMS)
    if unknown := set(arms) - set(study.ARMS):
        print(f"longthink train study: no arm {', '.join(unknown)}: there are {', '.join(study.ARMS)}", file=sys.stderr)
        return 2
    seeds = [int(seed) for seed in options.seeds.split(",")]
    failed = 0
    if not options.report:
        for layer in layers(study.ARMS, arms):
            with ThreadPoolExecutor(options.jobs) as pool:
                runs = [pool.submit(train, study, folder, arm, seed) for seed in seeds for arm in layer]
            failed += sum(run.result() != 0 for run in runs)
    text = report(study, folder, arms, seeds)
    print(text)
    if options.table:
        options.table.write_text(text.partition("\n\n")[2] + "\n", encoding="utf-8")
    return 1 if failed else 0


def layers(all_arms: Mapping[str, Arm], wanted: Sequence[str]) -> list[list[str]]:
    """The wanted arms, those that start from another one behind it."""

    def depth(arm: str) -> int:
        base = all_arms[arm].base
        return 0 if base is None else 1 + depth(base)

    depths = {arm: depth(arm) for arm in wanted}
    return [[arm for arm in wanted if depths[arm] == level] for level in sorted(set(depths.values()))]


def place(folder: Path, arm: str, seed: int) -> Path:
    """The folder of a run."""
    return folder / f"{arm}-{seed}"


def train(study: Study, folder: Path, arm: str, seed: int) -> int:
    """One run in a process of its own, unless it is finished; returns its exit status."""
    chosen, output = study.ARMS[arm], place(folder, arm, seed)
    if (output / "recipe.json").exists():
        return 0
    output.mkdir(parents=True, exist_ok=True)
    measures = [measure.model_dump(mode="json") for measure in study.MEASURES]
    settings = merged(chosen.settings, {"seed": seed, "output": str(output), "evaluations": measures})
    if chosen.base is not None:
        settings["model"] = str(place(folder, chosen.base, seed))
    settings = json.loads(json.dumps(settings).replace("{seed}", str(seed)))
    settings["evaluate_start"] = hasattr(study, "more") or begins(output, settings.get("model"))
    (output / "settings.json").write_text(json.dumps(settings, indent=1))
    command = [sys.executable, "-m", "training", chosen.recipe, "--config", str(output / "settings.json")]
    command += ["--preset", chosen.preset] if chosen.preset else []
    with (output / "log.txt").open("a") as log:
        return subprocess.run(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode


def begins(output: Path, model: str | None) -> bool:
    """Whether a run measures what it starts from, since no other one of the study does from this checkpoint."""
    others = (json.loads(file.read_text()) for file in output.parent.glob("*/settings.json") if file.parent != output)
    return model is None or not any(other.get("model") == model and other["evaluate_start"] for other in others)


def report(study: Study, folder: Path, arms: Sequence[str], seeds: Sequence[int]) -> str:
    """A line for each measurement: before, and after each arm the mean over seeds with a 95 % interval."""
    runs = {arm: [record.results(place(folder, arm, seed)) for seed in seeds] for arm in arms}
    lines = []
    for measure in study.MEASURES:
        last = {arm: [_last(run, measure.name) for run in runs[arm]] for arm in arms}
        ends = {arm: [result for result in found if result is not None] for arm, found in last.items()}
        starts = [r for found in runs.values() for run in found for r in run if (r.name, r.step) == (measure.name, 0)]
        before = starts[:1] if _same(starts) else starts
        lines.append([measure.name, cell(before), *(cell(ends[arm]) for arm in arms)])
    count = {arm: sum(bool(run) for run in runs[arm]) for arm in arms}
    heads = [f"{arm} ({count[arm]} seeds)" for arm in arms]
    tables = [_wide(["measurement", "before", *heads], lines), _cost(folder, arms, seeds)]
    if len(arms) > 1:
        tables.insert(1, _differences(study, runs))
    if more := getattr(study, "more", None):
        tables.insert(1, table(*more(folder, arms, seeds)))
    return "\n\n".join([study.TITLE, *tables])


def _wide(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table with its longer side downwards."""
    if len(head) - 1 <= len(lines):
        return table(head, lines)
    turned: list[tuple[str, ...]] = list(zip(head, *lines, strict=True))
    return table(turned[0], turned[1:])


def _differences(study: Study, runs: Mapping[str, Sequence[Sequence[Result]]]) -> str:
    """Points that each arm is ahead of the first one after training, same seeds and problems, with a 95 % interval."""
    first, *others = runs
    lines = []
    for measure in study.MEASURES:
        ends = {arm: [_last(run, measure.name) for run in found] for arm, found in runs.items()}
        line = [measure.name]
        for arm in others:
            pairs = [(a, b) for a, b in zip(ends[arm], ends[first], strict=True) if a is not None and b is not None]
            gains = np.array([[a.right[p] - b.right[p] for p in sorted(b.right)] for a, b in pairs], float)
            interval = "[{:+.1f}, {:+.1f}]".format(*(100 * end for end in over_seeds(gains))) if pairs else ""
            line.append(f"{100 * gains.mean():+.1f} {interval}" if pairs else "—")
        lines.append(line)
    return _wide([f"points ahead of {first}", *others], lines)


def cell(found: Sequence[Result]) -> str:
    """Runs of one arm: the mean over seeds with its interval, and the tokens that a problem took."""
    if not found:
        return "—"
    problems = sorted(set.intersection(*(set(result.right) for result in found)))
    outcomes = np.array([[result.right[problem] for problem in problems] for result in found], float)
    low, high = over_seeds(outcomes)
    tokens = sum(result.tokens for result in found) / len(found)
    return f"{percent(float(outcomes.mean()))} [{100 * low:.1f}, {100 * high:.1f}], {tokens:.0f} tokens"


def _last(run: Sequence[Result], name: str) -> Result | None:
    own = [result for result in run if result.name == name and result.step > 0]
    return own[-1] if own else None


def _same(starts: Sequence[Result]) -> bool:
    return all(result.right == starts[0].right for result in starts[1:])


def _cost(folder: Path, arms: Sequence[str], seeds: Sequence[int]) -> str:
    """Wall time and tokens of the runs, evaluations included."""
    lines = []
    for arm in arms:
        logs = [path for seed in seeds if (path := place(folder, arm, seed) / "metrics.jsonl").exists()]
        steps = [[json.loads(line) for line in log.read_text().splitlines()] for log in logs]
        steps = [run for run in steps if run]
        if steps:
            minutes = sum(run[-1]["seconds"] for run in steps) / len(steps) / 60
            cpu = sum(run[-1]["cpu_seconds"] for run in steps) / len(steps) / 60
            trained = sum(line.get("trained_tokens", 0) for run in steps for line in run) / len(steps)
            lines.append([arm, f"{minutes:.1f}", f"{cpu:.1f}", f"{trained:,.0f}"])
    return table(["arm", "minutes a seed", "CPU minutes", "trained tokens"], lines)
