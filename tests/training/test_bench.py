"""The comparison of engines: they take turns, with the same problems."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.bench import Rounds, main
from training.recipes.grpo import Config


def test_every_engine_has_a_line(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--model", str(small), "--rounds", "1", "--batch", "1", "--group", "2", "--max-tokens", "6"]
    assert main([*options, "--engines", "inline", "inline"]) == 0
    header, _, first, second = capsys.readouterr().out.strip().splitlines()[-4:]
    assert header.split(" | ")[-1] == "steps/s against the first |"
    lines = [line.strip("| ").split(" | ") for line in (first, second)]
    assert [line[0] for line in lines] == ["inline", "inline"]
    assert float(lines[0][4]) == 1.0
    assert all(float(line[1]) >= float(line[2]) for line in lines)
    assert all(0 < float(line[3]) <= 12 for line in lines)


def test_a_round_has_the_same_problems_for_all() -> None:
    rounds = Rounds(Config(batch=3), engines=2)
    first, second, third = (rounds.problems(step) for step in range(3))
    assert first == second != third
