"""A study: its arms in order, its runs, and the table of what came of them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from benchmarks.statistics import over_seeds
from training import record, study
from training.evaluate import Result
from training.settings import Evaluation
from training.study import Arm, Study

STUDY = cast(
    "Study",
    SimpleNamespace(
        TITLE="What comes of it",
        ARMS={
            "start": Arm("grpo", {"steps": 1, "batch": 1, "group": 2, "max_tokens": 8}, preset=None),
            "more": Arm("grpo", {"steps": 1, "batch": 1, "group": 2, "max_tokens": 8}, preset=None, base="start"),
        },
        MEASURES=(Evaluation(name="few", level="easy", problems=2, max_completion_tokens=8),),
    ),
)


def test_an_arm_runs_behind_the_one_it_starts_from() -> None:
    arms = {"c": Arm("grpo", base="b"), "b": Arm("grpo", base="a"), "a": Arm("grpo"), "d": Arm("grpo")}
    assert study.layers(arms, ["c", "d", "a", "b"]) == [["d", "a"], ["b"], ["c"]]


@pytest.mark.slow
def test_a_study_runs_once_and_starts_from_what_its_base_has_trained(tmp_path: Path, small: Path) -> None:
    arms = {"start": Arm("grpo", {**STUDY.ARMS["start"].settings, "model": str(small)}, preset=None)}
    own = cast("Study", SimpleNamespace(**{**vars(STUDY), "ARMS": {**arms, "more": STUDY.ARMS["more"]}}))
    for arm in ("start", "more"):
        assert study.train(own, tmp_path, arm, 3) == 0, (tmp_path / f"{arm}-3" / "log.txt").read_text()
    settings = json.loads((tmp_path / "more-3" / "recipe.json").read_text())
    assert settings["model"] == str(tmp_path / "start-3")
    assert settings["seed"] == 3
    written = (tmp_path / "start-3" / "metrics.jsonl").stat().st_mtime_ns
    assert study.train(own, tmp_path, "start", 3) == 0
    assert (tmp_path / "start-3" / "metrics.jsonl").stat().st_mtime_ns == written
    assert "| measurement | few |" in study.report(own, tmp_path, ["start", "more"], [3])


def test_a_start_that_runs_share_is_measured_by_one_of_them(tmp_path: Path) -> None:
    def write(run: str, **settings: object) -> None:
        (tmp_path / run).mkdir(exist_ok=True)
        (tmp_path / run / "settings.json").write_text(json.dumps(settings))

    assert study.begins(tmp_path / "a-1", "m")
    write("a-1", model="m", evaluate_start=True)
    assert study.begins(tmp_path / "a-1", "m"), "a run that goes on is no other one"
    assert not study.begins(tmp_path / "b-1", "m")
    write("b-1", model="m", evaluate_start=False)
    assert study.begins(tmp_path / "a-1", "m")
    assert study.begins(tmp_path / "c-1", "n")
    assert study.begins(tmp_path / "d-1", None), "who knows what it starts from"


def test_differences_are_those_of_the_same_seeds_and_problems(tmp_path: Path) -> None:
    for arm, seed, right in (("start", 1, "1100"), ("more", 1, "1110"), ("start", 2, "0000"), ("more", 2, "1000")):
        outcomes = {str(place): mark == "1" for place, mark in enumerate(right)}
        lines = record.Lines(tmp_path / f"{arm}-{seed}" / "evaluations.jsonl", 0)
        lines.add(record.as_line(Result("few", 9, outcomes, 7.0)))
    (tmp_path / "more-3").mkdir()
    shown = study.report(STUDY, tmp_path, ["start", "more"], [1, 2, 3]).split("| points ahead of start | more |")[1]
    (line,) = (line for line in shown.splitlines() if line.startswith("| few |"))
    assert line.startswith("| few | +25.0 [")


def test_the_table_shows_before_and_after_with_intervals(tmp_path: Path) -> None:
    for seed, after in ((1, [True] * 4), (2, [True, True, False, False])):
        lines = record.Lines(tmp_path / f"start-{seed}" / "evaluations.jsonl", 0)
        for step, right in ((0, [False] * 4), (9, after)):
            result = Result("few", step, {str(i): correct for i, correct in enumerate(right)}, 7.0)
            lines.add(record.as_line(result))
    shown = study.report(STUDY, tmp_path, ["start"], [1, 2])
    before, after = shown.splitlines()[4:6]  # one measure of two columns: the longer side is downwards
    assert before == "| before | 0.0 % [0.0, 0.0], 7 tokens |"
    assert after.startswith("| start (2 seeds) | 75.0 % [")


def test_the_interval_knows_of_both_kinds_of_chance() -> None:
    rng = np.random.default_rng(1)
    same = np.tile(rng.random((1, 200)) < 0.5, (3, 1)).astype(float)
    low, high = over_seeds(same)
    assert low < same.mean() < high
    assert 0.1 < high - low < 0.18  # 2 x 1.96 x sqrt(0.25 / 200) = 0.14: equal seeds add nothing
    apart = np.repeat([[0.0], [0.5], [1.0]], 200, axis=1)
    low, high = over_seeds(apart)
    assert high - low > 0.6
