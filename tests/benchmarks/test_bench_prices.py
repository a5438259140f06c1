"""Costs: prompts, cached prompts and generated tokens at prices."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from benchmarks import prices
from benchmarks.__main__ import main
from benchmarks.curves import load
from benchmarks.rows import Journal, read
from tests.benchmarks.test_bench_plot import results


def of(*flags: str) -> prices.Prices:
    made = argparse.ArgumentParser()
    prices.add_options(made)
    return prices.of(made.parse_args(flags))


def test_prices_say_what_is_paid() -> None:
    assert of() == prices.TOKENS
    assert of().of(1000, 500, 10) == 10
    assert of("--cost").of(1000, 500, 10) == pytest.approx(500 * 0.2 + 500 * 0.02 + 10)
    money = of("--price-input", "2", "--price-cached", "0.5", "--price-output", "8")
    assert money.of(1e6, 0, 0) == pytest.approx(2 * 1000)
    assert money.of(1e6, 1e6, 1e6) == pytest.approx((0.5 + 8) * 1000)
    assert of("--price-input", "2", "--price-output", "8").of(1e6, 1e6, 0) == pytest.approx(2 * 1000)
    with pytest.raises(ValueError, match="--price-output"):
        of("--price-input", "2")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two decoders that generate as many tokens; the second one's prompts are ten times as long."""
    plain = tmp_path / "plain.jsonl"
    results(plain, "rc", "turns", {1: 0.2, 4: 0.6})
    results(plain, "rsa", "rounds", {1: 0.2, 4: 0.6})
    file = tmp_path / "rows.jsonl"
    with Journal(file) as journal:
        for row in read(plain):
            prompt = row.completion_tokens * (10 if row.decoder == "rsa" else 1)
            journal.append(row.model_copy(update={"prompt_tokens": prompt, "cached_tokens": prompt // 2}))
    return file


def test_curves_stand_over_cost_from_rows_and_from_figures(file: Path) -> None:
    wanted = [[100 + 50 * 0.22, 400 + 200 * 0.22], [100 + 500 * 0.22, 400 + 2000 * 0.22]]
    kept = file.with_name("kept.json")
    assert main(["figures", str(file), "--about", "x", "--output", str(kept)]) == 0
    for source in (file, kept):
        found = [[point.spent for point in curve.points] for curve in load([source], prices=of("--cost"))]
        assert found == [pytest.approx(line) for line in wanted]
    assert [[point.spent for point in curve.points] for curve in load([file])] == [[100, 400]] * 2


def test_equal_tokens_are_not_equal_cost(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compare", str(file), str(file), "--a-decoder", "rc", "--b-decoder", "rsa", "--resamples", "50"]
    assert main(command) == 0
    tokens = capsys.readouterr().out
    assert "| at tokens |" in tokens
    assert "| 400 | 60.0 % | 60.0 % | 1.00 (" in tokens
    assert main([*command, "--cost"]) == 0
    cost = capsys.readouterr().out
    assert "| at cost |" in cost
    # 444 for 60 %: the other side pays 210 for its first setting and 840 for the second
    assert "| 444 | 60.0 % | 41.6 % |" in cost


@pytest.mark.parametrize("command", ["plot", "panels"])
def test_pictures_over_cost(command: str, file: Path) -> None:
    picture = file.with_name(f"{command}.svg")
    assert main([command, str(file), "--output", str(picture), "--cost"]) == 0
    assert "<svg" in picture.read_text()


def test_results_without_prompt_tokens_have_no_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = results(tmp_path / "old.jsonl", "rc", "turns", {1: 0.2})
    assert main(["plot", str(file), "--output", str(tmp_path / "p.svg"), "--cost"]) == 2
    assert "do not tell their prompt tokens" in capsys.readouterr().err
