from __future__ import annotations

import json
from dataclasses import replace
from math import inf, log, sqrt
from pathlib import Path

import numpy as np
import pytest

from training.__main__ import main as train
from training.privacy import validate
from training.privacy.budget import Budget
from training.privacy.command import REFUSED
from training.privacy.families import FAMILIES, Mean, Regression
from training.privacy.plan import Answer, Refusal, plan
from training.privacy.risk import CEILING, Setting, mixed, private_needed, public_needed
from training.privacy.shift import Shift, estimate

TEXTBOOK = Budget(1 / sqrt(2 * log(1.25e6)))
"""ε = 1, δ = 1e-6 with the noise of the textbook, for figures that were calculated with it."""
SETTING = Setting(Mean(64), 2400, 4000, Budget.approximate(1.0, 1e-6))


def test_every_formula_is_within_five_percent_of_its_simulation() -> None:
    found = list(validate.lines(repeats=500, seed=2))
    assert len(found) == 30
    assert not [line for line in found if not line.right]
    assert max(line.error / line.formula for line in found if not line.bound) < 0.02, "too few repeats to tell"


def test_a_formula_that_is_wrong_by_a_tenth_is_found_out() -> None:
    assert not validate.Line("", 1.1, 1.0, 0.0).right
    assert not validate.Line("", 1.1, 1.0, 0.0, bound=True).right
    assert validate.Line("", 0.1, 1.0, 0.0, bound=True).right


@pytest.mark.parametrize(
    ("shift", "public", "needed"),
    [
        (0, 64, 6297),
        (0, 400, 5243),
        (0, 1600, 0),
        (0.1, 1600, 2489),
        (0.19, 6400, 1989),
        (0.25, 2400, 4404),
        (0.5, 10**6, 5639),
        (2, 6400, 6877),
    ],
)
def test_private_data_needed_for_an_error_of_a_fifth(shift: float, public: int, needed: int) -> None:
    setting = Setting(Mean(64), public, 0, TEXTBOOK, reach=inf)
    found = private_needed(setting, 0.2**2, shift)
    assert found == pytest.approx(needed, abs=1 if shift == 0 else 0.01 * needed), "there the clip was a little wider"


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_mixing_gains_a_factor_of_two_at_most_and_reaches_it_where_both_are_equal(kind: str) -> None:
    family = FAMILIES[kind](16)
    gains = [
        Setting(family, m, n, Budget(mu)).gain(shift)
        for m in (0, 10, 50, 5000)
        for n in (0, 500, 10**5)
        for mu in (0.1, 1.0, inf)
        for shift in (0, 0.1, 3)
    ]
    assert 1 <= min(gains) <= max(gains) <= CEILING + 1e-12
    assert mixed(0.3, 0.3) == 0.3 / CEILING


def test_the_dichotomy_a_small_shift_ends_in_enough_public_data_a_large_one_in_none_that_help() -> None:
    def needed(m: int, shift: float) -> float:
        return private_needed(replace(SETTING, public=m, reach=10), 0.2**2, shift)

    enough = public_needed(Mean(64), 0.2**2, 0.1)
    assert enough == pytest.approx(64 / (0.2**2 - 0.1**2), abs=1)
    assert needed(int(enough), 0.1) == 0 < needed(int(enough) - 1, 0.1)
    assert public_needed(Mean(64), 0.2**2, 0.2) == inf
    assert needed(10**9, 2.0) > 0.97 * needed(6400, 2.0)


def test_where_noise_dominates_public_data_save_a_share_that_depends_on_the_shift_alone() -> None:
    setting = Setting(Mean(64), 10**9, 0, Budget(0.001), reach=0.01)
    for shift in (0.25, 0.5, 2.0):
        share = private_needed(setting, 0.2**2, shift) / private_needed(setting, 0.2**2, None)
        assert share == pytest.approx(sqrt(1 - (0.2 / shift) ** 2), abs=0.01)


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_no_risk_is_below_the_floor(kind: str) -> None:
    for m in (0, 40, 4000):
        for n in (200, 20_000):
            for mu in (0.05, 0.5, 5.0):
                setting = Setting(FAMILIES[kind](24), m, n, Budget(mu))
                assert all(setting.floor(shift) <= setting.mixed_risk(shift) for shift in (0.0, 0.3, 3.0))


def test_one_person_moves_the_private_estimate_by_the_sensitivity_at_most() -> None:
    rng = np.random.default_rng(0)
    for family in (Mean(5), Regression(5)):
        data, centre = family.draw(rng, 50, np.zeros(5)), np.zeros(5)
        limit = 2 * family.clip(50, 0.5) / 50
        for row in (1e6, -1e6, 0.0):
            other = data.copy()
            other[7] = row
            moved = [family.fit_private(d, centre, 0.5, Budget(inf), rng) for d in (data, other)]
            assert np.linalg.norm(moved[0] - moved[1]) <= limit * (1 + 1e-9)


def test_an_interval_within_a_regime_is_answered_and_one_across_is_refused() -> None:
    (change,) = SETTING.changes(0.15, 2.0)
    below, above = (plan(SETTING, Shift(*ends)) for ends in ((0.15, change - 0.01), (change + 0.01, 2.0)))
    assert isinstance(below.found, Answer)
    assert isinstance(above.found, Answer)
    assert (below.found.regime, above.found.regime) == ("mixed", "private")
    assert below.found.risk_low < below.found.risk < below.found.risk_high
    assert below.found.risk_high == pytest.approx(SETTING.mixed_risk(change - 0.01))
    across = plan(SETTING, Shift(0.15, 2.0)).found
    assert isinstance(across, Refusal)
    assert across.regimes == ("mixed", "private")


def test_what_is_saved_is_what_private_data_alone_would_have_taken() -> None:
    found = plan(SETTING, Shift(0.15, 0.25)).found
    assert isinstance(found, Answer)
    alone = replace(SETTING, public=0, private=SETTING.private + found.saved)
    assert alone.alone() <= found.risk_high < replace(alone, private=alone.private - 1).alone()


def test_without_public_data_the_plan_is_private_and_saves_nothing() -> None:
    found = plan(replace(SETTING, public=0), Shift(0.0, 1.0)).found
    assert isinstance(found, Answer)
    assert (found.regime, found.saved) == ("private", 0)


def test_the_interval_is_narrow_where_there_are_enough_data_and_wide_where_not() -> None:
    rng, s = np.random.default_rng(3), np.full(8, 0.5 / sqrt(8))
    public = Mean(8).draw(rng, 20_000, s)
    wide, narrow = (estimate(public, Mean(8).draw(rng, n, np.zeros(8)), 1.0, Budget(1.0), rng) for n in (200, 20_000))
    assert narrow.low <= 0.5 <= narrow.high
    assert narrow.high - narrow.low < 0.1 < wide.high - wide.low
    assert wide.high <= 1.0


PLAN = "privacy plan --dimension 64 --epsilon 1 --delta 1e-6 --public 2400 --private 4000".split()


def test_the_command_answers_in_markdown_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert train([*PLAN, "--shift", "0.15", "0.25", "--error", "0.2"]) == 0
    said = capsys.readouterr().out
    assert "Regime: mixed" in said
    assert "no number suffices" in said
    assert "derived" in said
    assert train([*PLAN, "--shift", "0.15", "0.25", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["answered"], told["regime"], told["asked"]["public"]) == (True, "mixed", 2400)


def test_the_command_refuses_and_says_what_would_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert train([*PLAN, "--shift", "0.15", "2"]) == REFUSED
    said = capsys.readouterr().out
    assert "No answer" in said
    assert "--estimate" in said
    assert "private for shifts from" in said
    assert "risk" not in said


def test_the_command_estimates_the_shift_for_a_share_of_the_budget(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(5)
    np.save(tmp_path / "public.npy", rng.standard_normal((4000, 4)) + 1.0)
    np.savetxt(tmp_path / "private.csv", rng.standard_normal((4000, 4)), delimiter=",")
    files = [str(tmp_path / name) for name in ("public.npy", "private.csv")]
    words = ["privacy", "plan", "--rho", "0.5", "--share", "0.4", "--bound", "4", "--json", "--estimate", *files]
    assert train(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["regime"], told["asked"]["dimension"]) == ("private", 4)
    assert told["asked"]["rho"] == pytest.approx(0.3), "what the estimate has left"
    assert told["shift"]["low"] <= 2.0 <= told["shift"]["high"] < told["shift"]["low"] + 0.5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--public 5 --private 5 --shift 0 1", "--epsilon and --delta, or --rho"),
        ("--public 5 --private 5 --rho 1", "--shift LOW HIGH"),
        ("--rho 1 --shift 0 1", "how many data"),
        ("--rho 1 --shift 1 0 --public 5", "0 ≤ low ≤ high"),
        ("--rho 1 --estimate missing.npy missing.npy", "missing.npy"),
    ],
)
def test_what_is_missing_is_named(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(["privacy", "plan", "--dimension", "8", *words.split()]) == 2
    assert said in capsys.readouterr().err


def test_regimes_and_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--dimension", "16", "--rho", "0.1"]
    assert train(["privacy", "regimes", *asked, "--public", "0", "400", "--shift", "0", "9"]) == 0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[2:]]
    assert rows[0][2] == "0"
    assert rows[1][1] == rows[0][1]
    assert int(rows[1][1].replace(",", "")) - int(rows[1][2].replace(",", "")) in (0, 1, 2)
    for name in ("map.svg", "map.png"):
        assert train(["privacy", "map", *asked, "--public", "400", "--output", str(tmp_path / name)]) == 0
        assert (tmp_path / name).stat().st_size > 5000
