"""Several samples of every problem: pass@k, majority@k, and how sure they are.

Rule: samples of one problem are no independent evidence. Intervals come from the spread over problems, and a problem
counts once all its samples are finished.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from benchmarks.report import percent, table
from benchmarks.rows import Row, Setting, by_setting
from benchmarks.statistics import majority_at, margin, pass_at
from decoders.rewards import exact


def several(wanted: Sequence[Setting], samples: int) -> list[Setting]:
    """Each setting as often as there are samples, with seeds that follow its own; `ValueError` for none."""
    if samples < 1:
        raise ValueError(f"{samples} samples of a problem cannot be")
    return [s.model_copy(update={"seed": s.seed + more}) for s in wanted for more in range(samples)]


def summary(rows: Sequence[Row], wanted: Sequence[Setting]) -> str:
    """The table of settings that differ in more than the seed: a line each."""
    finished = by_setting({row.id: row for row in rows if row.error is None}.values())
    groups: dict[str, list[Setting]] = {}
    for setting in wanted:
        groups.setdefault(setting.model_copy(update={"seed": 0}).key, []).append(setting)
    ks = _sizes(len(next(iter(groups.values()))))
    lines = []
    for group in groups.values():
        problems = _problems([finished.get(setting.key, []) for setting in group])
        lines.append([group[0].name, str(len(problems)), str(len(group)), *_figures(problems, ks)])
    header = ("setting", "n", "samples", *(f"pass@{k}" for k in ks), *(f"majority@{k}" for k in ks[1:]), "mean tokens")
    return table(header, lines)


def _sizes(samples: int) -> list[int]:
    return sorted({*(2**i for i in range(samples.bit_length())), samples})


def _problems(samples: Sequence[Sequence[Row]]) -> list[list[Row]]:
    """The rows of each problem of which every sample is there."""
    found: dict[str, list[Row]] = {}
    for row in (row for rows in samples for row in rows):
        found.setdefault(row.problem, []).append(row)
    return [rows for rows in found.values() if len(rows) == len(samples)]


def _figures(problems: Sequence[Sequence[Row]], ks: Sequence[int]) -> list[str]:
    if not problems:
        return ["—"] * (2 * len(ks))
    passed = [[pass_at(k, sum(row.correct for row in rows), len(rows)) for rows in problems] for k in ks]
    elected = [[_majority(k, rows) for rows in problems] for k in ks[1:]]
    tokens = sum(row.completion_tokens for rows in problems for row in rows) / sum(map(len, problems))
    return [*(_share(values) for values in (*passed, *elected)), f"{tokens:.0f}"]


def _majority(k: int, rows: Sequence[Row]) -> float:
    """Of answers that are the same text, as the decoders that vote compare them; who has not answered has no vote."""
    given = {row.request_seed: " ".join(exact.final(row.answer).split()) for row in rows if row.answered}
    right = {given[row.request_seed] for row in rows if row.correct}
    return majority_at(k, Counter(given.values()), right, silent=len(rows) - len(given))


def _share(values: Sequence[float]) -> str:
    half = margin(values)
    return percent(sum(values) / len(values)) + ("" if half is None else f" ± {100 * half:.1f}")
