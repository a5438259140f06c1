"""Regret on curves made by hand, and the command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks import regret
from benchmarks.__main__ import main
from benchmarks.curves import load
from benchmarks.statistics import Outcomes
from tests.benchmarks.test_bench_plot import results

ONE = np.array([[0.5, 0.5]])
"""Two problems, as they are."""


def swept(spent: Sequence[float], right: Sequence[tuple[int, int]]) -> regret.Swept:
    return regret.Swept(Outcomes(np.array(right, dtype=float), np.array([[s, s] for s in spent], dtype=float)))


@pytest.mark.parametrize(
    ("budget", "success"),
    [(50, 0.0), (100, 0.0), (150, 0.5 * 50 / 150), (200, 0.25), (300, 0.5), (1000, (50 + 800) / 1000)],
)
def test_success_is_the_integral_of_the_steps(budget: float, success: float) -> None:
    """0 up to 100 tokens, 0.5 up to 200, then 1: inside a step, at its edges, before the first, behind the last."""
    curve = swept([200, 100], [(1, 1), (1, 0)])
    assert curve.success(ONE, [budget])[0, 0] == pytest.approx(success)
    assert curve.ends == (100, 200)


def test_a_costlier_setting_counts_even_where_it_is_worse() -> None:
    curve = swept([100, 200], [(1, 1), (0, 0)])
    assert curve.success(ONE, [400])[0, 0] == pytest.approx(100 / 400)
    assert curve.best(ONE)[0] == 1.0


def test_settings_are_reached_by_mean_cost_so_that_nothing_is_known_beforehand() -> None:
    costs = np.array([[0.0, 200.0]])
    curve = regret.Swept(Outcomes(np.array([[1.0, 0.0]]), costs))
    assert curve.success(ONE, [50])[0, 0] == 0.0
    only_first = np.array([[1.0, 0.0]])
    assert curve.success(only_first, [50])[0, 0] == 1.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rc = results(tmp_path / "a.jsonl", "rc", "turns", {1: 0.1, 4: 0.5, 16: 0.9})
    return results(rc, "direct", "n", {1: 0.2, 16: 0.2})


def test_the_comparator_is_an_oracle_or_the_best_of_the_compared(file: Path) -> None:
    oracle, best = (
        regret.compare(load([file]), runs=False, comparator=comparator, resamples=200)
        for comparator in ("oracle", "best")
    )
    direct, rc = oracle.at([3200])[:, 0, 0]
    assert rc == pytest.approx(1 - (0.1 * 300 + 0.5 * 1200 + 0.9 * 1600) / 3200)
    assert direct == pytest.approx(1 - 0.2 * 3100 / 3200)
    assert best.at([3200])[:, 0, 0] == pytest.approx([direct - 0.1, rc - 0.1])


def test_intervals_surround_the_value_and_shrink_with_more_problems(tmp_path: Path) -> None:
    widths = []
    for n in (20, 320):
        file = results(tmp_path / f"{n}.jsonl", "rc", "turns", {1: 0.1, 4: 0.5}, n=n)
        found = regret.compare(load([file]), runs=False, comparator="oracle", resamples=1000)
        own = regret.estimates(found.at([800])[0])[0]
        assert own.interval.low < own.value < own.interval.high
        widths.append(own.interval.high - own.interval.low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.25)


def test_the_command_orders_by_regret_and_draws(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, picture = tmp_path / "new" / "regret.md", tmp_path / "regret.svg"
    given = ["regret", str(file), "--budgets", "400,3200", "--table", str(table), "--picture", str(picture)]
    assert main(given) == 0
    lines = [line for line in table.read_text().splitlines() if line.startswith("| ")]
    assert lines[0] == "| decoder | R(400) | R(3,200) | behind the first |"
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| rc", "| direct"]
    assert "| 0.353 (" in lines[2]
    assert "50 common problems of countdown hard" in capsys.readouterr().out
    assert "<svg" in picture.read_text()


def test_what_cannot_be_compared_is_told(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["regret", str(file), "--recorded"]) == 2
    assert "measure with --steps" in capsys.readouterr().err
    assert main(["regret", str(file), "--decoders", "none"]) == 2
    kept = tmp_path / "kept.json"
    main(["figures", str(file), "--about", "x", "--output", str(kept)])
    assert main(["regret", str(kept)]) == 2
    assert "are not rows" in capsys.readouterr().err
    assert main(["regret", str(file), "--cost"]) == 2
    assert "do not tell their prompt tokens" in capsys.readouterr().err
