from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.rows import Journal, Row
from decoders.prompts.ladder import Rung, read


def results(
    file: Path,
    decoder: str,
    right: int,
    tokens: int,
    *,
    budget: int | None = None,
    problems: int = 10,
    split: str = "dev",
    error: bool = False,
    **options: int | None,
) -> None:
    with Journal(file) as journal:
        for number in range(problems):
            journal.append(
                Row(
                    model="m",
                    task="countdown",
                    level="hard",
                    split=split,
                    decoder=decoder,
                    options=dict(options),
                    max_completion_tokens=budget,
                    problem=f"p{number}",
                    request_seed=1,
                    correct=number < right,
                    completion_tokens=tokens + number,
                    error="503" if error else None,
                )
            )


def climbed(files: list[Path], output: Path, *more: str) -> tuple[Rung, ...]:
    assert main(["ladder", *map(str, files), "--output", str(output), *more]) == 0
    return read(output)


def test_each_rung_is_better_than_all_cheaper_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two, ladder = tmp_path / "one.jsonl", tmp_path / "two.jsonl", tmp_path / "ladder.json"
    results(one, "direct", 1, 90)
    results(one, "rc", 8, 900, turns=8)
    results(one, "rc", 5, 400, turns=4, summary_model=None)
    results(two, "self_consistency", 3, 500, n=4)
    results(two, "self_consistency", 8, 1000, n=8)
    rungs = climbed([one, two], ladder)
    assert [(r.tokens, r.decoder, r.options, r.accuracy) for r in rungs] == [
        (99, "direct", {}, 0.1),
        (409, "rc", {"turns": 4, "summary_model": None}, 0.5),
        (909, "rc", {"turns": 8}, 0.8),
    ]
    assert rungs[0].source == "measured: 10 hard dev problems of countdown, m"
    assert "| rc turns=8 | 909 | 80.0 % |" in capsys.readouterr().out


def test_a_setting_counts_from_the_budget_that_it_was_measured_under(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    results(file, "rc", 4, 100, budget=256)
    results(file, "rc", 6, 300, budget=512)
    rungs = climbed([file], tmp_path / "ladder.json")
    assert [(r.tokens, r.decoder, r.accuracy) for r in rungs] == [(256, "rc", 0.4), (512, "rc", 0.6)]


def test_a_rung_may_have_to_gain_something(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    for turns, right in {1: 4, 2: 5, 3: 6}.items():
        results(file, "rc", right, 100 * turns, turns=turns)
    assert [r.accuracy for r in climbed([file], tmp_path / "ladder.json", "--least-gain", "0.15")] == [0.4, 0.6]


def test_settings_are_compared_on_the_problems_that_all_have_finished(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    results(file, "direct", 1, 100, problems=4)
    results(file, "rc", 4, 200, turns=1)
    results(file, "rc", 9, 300, turns=2, error=True)
    results(file, "auto", 10, 50)
    rungs = climbed([file], tmp_path / "ladder.json")
    assert [(r.decoder, r.accuracy) for r in rungs] == [("direct", 0.25), ("rc", 1.0)]


@pytest.mark.parametrize(("second", "message"), [("test", "differ in split"), (None, "no problem")])
def test_results_that_cannot_be_compared_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], second: str | None, message: str
) -> None:
    file, ladder = tmp_path / "rows.jsonl", tmp_path / "ladder.json"
    results(file, "direct", 1, 100, error=second is None)
    if second:
        results(file, "direct", 1, 100, split=second)
    assert main(["ladder", str(file), "--output", str(ladder)]) == 2
    assert message in capsys.readouterr().err
    assert not ladder.exists()
