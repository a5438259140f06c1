from __future__ import annotations

import pytest
from pydantic import ValidationError

from training.curriculum import Stage, additive, fixed, linear, multiplicative, smallest_budget, stage_at


def test_stages_follow_each_other_and_the_last_goes_on() -> None:
    stages = [Stage(steps=2, levels={"easy": 1}, budget=64), Stage(steps=3, levels={"hard": 1}, budget="rule")]
    assert [stage_at(stages, step) for step in range(7)] == [0, 0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"levels": {}}, {"budget": "ruler"}])
def test_a_stage_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Stage.model_validate({"steps": 1, "levels": {"easy": 1}, "budget": 8} | wrong)


def test_the_budget_is_the_first_from_which_doubling_gains_little() -> None:
    # the paper's own worked example for Countdown: the ratios are 2.8, 1.4, 1.04, 1.0
    measured = {256: 0.06, 512: 0.17, 1024: 0.23, 2048: 0.24, 4096: 0.24}
    assert smallest_budget(measured, 1.2) == 1024
    assert smallest_budget(measured, 1.5) == 512
    assert smallest_budget(measured, 1.2, least=1500) == 2048
    assert smallest_budget(measured, 0.9) == 2048


def test_a_budget_without_any_success_is_never_the_rule_s_choice() -> None:
    assert smallest_budget({8: 0.0, 16: 0.0, 32: 0.5, 64: 0.5}, 1.2) == 32
    assert smallest_budget({8: 0.0, 16: 0.0, 32: 0.0}, 1.2) == 16


def test_the_rule_needs_a_budget_and_its_double() -> None:
    with pytest.raises(ValueError, match="twice"):
        smallest_budget({8: 0.5, 24: 0.7}, 1.2)


def test_horizons_grow_as_their_formulas_say() -> None:
    assert [fixed(7)(i) for i in (0, 99)] == [7, 7]
    assert [additive(10, 10, 2, 30)(i) for i in range(7)] == [10, 10, 20, 20, 30, 30, 30]
    assert [multiplicative(10, 2, 1, 30)(i) for i in range(4)] == [10, 20, 30, 30]
    assert [multiplicative(2, 1.5, 1, 30)(i) for i in (0, 1, 2, 6, 7, 10**9)] == [2, 3, 4, 23, 30, 30]
    assert [linear(10, 30, 4)(i) for i in range(6)] == [10, 15, 20, 25, 30, 30]
