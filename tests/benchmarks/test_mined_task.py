from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import tasks

PLACE = {"task": "countdown", "level": "hard", "split": "train", "of": 20, "seed": 0}


def write(path: Path, *lines: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return f"mined:{path}"


def test_problems_are_those_of_the_tasks_that_they_come_from(tmp_path: Path) -> None:
    hard = tasks.problems("countdown", "hard", "train", 20)
    easy = tasks.problems("residues", "easy", "train", 5)
    lines = [{**PLACE, "id": hard[i].id, "samples": 128} for i in (7, 3, 7)]
    lines.append({**PLACE, "task": "residues", "level": "easy", "of": 5, "id": easy[4].id})
    name = write(tmp_path / "hard.jsonl", *lines)
    assert tasks.problems(name, "all", "train", 10) == [hard[7], hard[3], easy[4]]
    assert tasks.problems(name, "all", "train", 2) == [hard[7], hard[3]]
    assert tasks.problems(name, "all", "test", 2) == []
    with pytest.raises(ValueError, match="no level"):
        tasks.problems(name, "hard", "train", 1)


def test_what_names_no_problem_is_an_error(tmp_path: Path) -> None:
    for lines, reason in (([{"id": "x"}], "no mined problems"), ([{**PLACE, "id": "1-1-1-1=1"}], "no problem")):
        name = write(tmp_path / "hard.jsonl", *lines)
        with pytest.raises(ValueError, match=reason):
            tasks.problems(name, "all", "train", 1)
    for name in ("mined", "mined:nowhere.jsonl"):
        with pytest.raises(ValueError, match=r"mined|nowhere"):
            tasks.problems(name, "all", "train", 1)
