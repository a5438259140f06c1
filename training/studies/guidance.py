"""Does guidance solve what plain reinforcement does not, and at which cost? Countdown that the base never solves.

Problems are those that the shipped checkpoint solves in none of 128 samples, with traces of its own RC decoder at 32
turns; the same for held-out ones, without traces:

    cd runs/guidance
    longthink traces mine --problems 500 --max-tokens 128 --temperature 0.6 --output hard.jsonl
    longthink traces mine --split test --problems 300 --max-tokens 128 --temperature 0.6 --output test.jsonl
    longthink traces collect --problems hard.jsonl --set turns=32 --output traces.jsonl

At temperature 0.6, in mining, training and measuring alike, the checkpoint begins its search nearly always in places
that it prefers, and what makes a problem hard is a solution elsewhere. At temperature 1 it begins anywhere, and hardly
any problem is left; a tighter budget makes problems hard that no other beginning helps with.

Compute is counted whole: what collecting, imitation and the search for hints have read and written, and what training
has (`training.collect.compute`); looking for hard problems is the same for all and left out. `plain` pays nothing for
traces and little for groups without a signal, so it gets more steps; arms are compared where all have spent as much.
The interventions of `int` are an oracle's, made from the same traces and for nothing: a model would have to write them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from training import record
from training.evaluate import Result
from training.settings import Evaluation
from training.study import Arm, cell, place

TITLE = "Guidance on Countdown that the base never solves: unguided success, before and after training"

TRACES = "runs/guidance/traces.jsonl"
TEMPERATURE, TOKENS = 0.6, 128
SAME = {
    "traces": TRACES,
    "steps": 50,
    "evaluate_every": 10,
    "batch": 12,
    "temperature": TEMPERATURE,
    "max_tokens": TOKENS,
    "max_length": TOKENS,
}
EARLY = {"low": 0, "high": 0.06}
ARMS = {
    "sft": Arm("imitate", {"traces": TRACES}),
    "int": Arm("int", {"traces": TRACES, "temperature": TEMPERATURE, "max_tokens": TOKENS}),
    "plain": Arm("prefixrl", {**SAME, "steps": 200, "evaluate_every": 40, "guidance": {"guided": 0}}),
    "sft-rl": Arm("prefixrl", {**SAME, "guidance": {"guided": 0}}, base="sft"),
    "int-rl": Arm("prefixrl", {**SAME, "guidance": {"guided": 0}}, base="int"),
    "pope": Arm("pope", SAME),
    "pope-refreshed": Arm("pope", {**SAME, "guidance": {"refresh": 10}}),
    "prefixrl": Arm("prefixrl", SAME),
    "prefixed": Arm("prefixrl", {**SAME, "guidance": {"plain": 0}}),
    "early": Arm("prefixrl", {**SAME, "guidance": EARLY}),
    "early-prefixed": Arm("prefixrl", {**SAME, "guidance": {**EARLY, "plain": 0}}),
    "early-anew": Arm("prefixrl", {**SAME, "guidance": {**EARLY, "refresh": 1}}),
}
"""Plain and after imitation; the two papers, and prefixed copies alone. Ours: hints chosen anew, and cuts where this
model still has a choice, among the first words of a trace, for what it has begun it finishes; fixed or drawn anew.
"""
STARTS = {arm.base for arm in ARMS.values()}
FREE = {"plain"}
"""Arms that use no traces: the file only tells them which problems there are."""


def _measure(name: str, task: str, split: Any, decoder: Mapping[str, Any], oracle: bool = False) -> Evaluation:
    return Evaluation(
        name=name,
        task=f"mined:{task}",
        level="all",
        split=split,
        problems=100,
        decoder=dict(decoder),
        oracle=oracle,
        temperature=TEMPERATURE,
    )


_ONE = {"name": "direct", "max_tokens": TOKENS}
_MANY = {"name": "self_consistency", "n": 16, "max_tokens": TOKENS}
MEASURES = (
    _measure("trained on, pass@1", TRACES, "train", _ONE),
    _measure("trained on, pass@16", TRACES, "train", _MANY, oracle=True),
    _measure("held out, pass@1", "runs/guidance/test.jsonl", "test", _ONE),
    _measure("held out, pass@16", "runs/guidance/test.jsonl", "test", _MANY, oracle=True),
)
SHARES = (0.25, 0.5, 1.0)


def more(folder: Path, arms: Sequence[str], seeds: Sequence[int]) -> tuple[list[str], list[list[str]]]:
    """Each measure of each arm at shares of the compute that all arms have spent, over seeds; and the last rewards."""
    runs = {
        arm: [path for seed in seeds if (path := place(folder, arm, seed)).exists()]
        for arm in arms
        if arm not in STARTS
    }
    spent = {path: _spent(folder, arm, path) for arm, found in runs.items() for path in found}
    spent = {path: totals for path, totals in spent.items() if totals}
    if not spent:
        return [], []
    most = min(max(totals.values()) for totals in spent.values())
    lines = []
    for arm, found in runs.items():
        paths = [path for path in found if path in spent]
        for measure in MEASURES:
            ends = [[_at(path, measure.name, spent[path], share * most) for path in paths] for share in SHARES]
            cells = [cell([result for result in end if result is not None]) for end in ends]
            lines.append([arm, measure.name, *cells, _rewards(paths)])
    heads = [f"at {share * most / 1e6:.2f} M" for share in SHARES]
    return ["arm", "measurement", *heads, "reward at the end, guided / plain"], lines


def _spent(folder: Path, arm: str, path: Path) -> dict[int, float]:
    """Compute behind each step, step 0 included."""
    base = ARMS[arm].base
    seed = int(path.name.rpartition("-")[2])
    total = 0.0 if arm in FREE else float(_collected())
    total += sum(line["compute"] for line in _lines(place(folder, base, seed))) if base else 0.0
    totals = {0: total}
    for line in _lines(path):
        total += line["compute"]
        totals[line["step"]] = total
    return totals if len(totals) > 1 else {}


def _collected() -> int:
    return sum(json.loads(line)["tokens"] for line in Path(TRACES).read_text().splitlines())


def _lines(path: Path) -> list[dict[str, Any]]:
    return record.Lines(path / "metrics.jsonl", 10**9).read() if (path / "metrics.jsonl").exists() else []


def _at(path: Path, name: str, spent: Mapping[int, float], most: float) -> Result | None:
    """The last measurement within a compute, the first one where that is later."""
    found = [result for result in record.results(path) if result.name == name]
    within = [result for result in found if spent.get(result.step, 1e99) <= most]
    return next(iter(reversed(within or found[:1])), None)


def _rewards(paths: Sequence[Path]) -> str:
    ends = [_lines(path)[-10:] for path in paths]
    cells = []
    for kind in ("guided", "plain"):
        values = [line[f"reward/{kind}"] for end in ends for line in end if f"reward/{kind}" in line]
        cells.append(f"{fmean(values):.2f}" if values else "—")
    return " / ".join(cells)
