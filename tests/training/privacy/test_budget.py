from __future__ import annotations

from math import exp, inf, log, sqrt
from statistics import NormalDist

import numpy as np
import pytest

from training.privacy.budget import Budget


def test_a_budget_is_the_same_in_all_of_its_forms() -> None:
    found = Budget.approximate(1.0, 1e-5)
    assert found.delta(1.0) == pytest.approx(1e-5, rel=1e-6)
    assert found.epsilon(1e-5) == pytest.approx(1.0, rel=1e-6)
    assert Budget.concentrated(found.rho).mu == pytest.approx(found.mu)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.1, 1e-6), (1.0, 1e-5), (1.0, 1e-9)])
def test_the_exact_noise_is_less_than_the_textbook_one_and_than_that_by_zcdp(epsilon: float, delta: float) -> None:
    exact = Budget.approximate(epsilon, delta).noise(1.0)
    assert exact < sqrt(2 * log(1.25 / delta)) / epsilon
    rho = (sqrt(log(1 / delta) + epsilon) - sqrt(log(1 / delta))) ** 2  # ρ + 2 √(ρ ln(1/δ)) = ε
    assert exact < Budget.concentrated(rho).noise(1.0)


def test_delta_is_what_the_worst_event_gains() -> None:
    """For N(0, 1) and N(μ, 1) the events {x > t} are the worst ones: their gain, maximised over t, is δ."""
    budget, epsilon, normal = Budget(0.8), 0.5, NormalDist()
    gains = [1 - normal.cdf(t - 0.8) - exp(epsilon) * (1 - normal.cdf(t)) for t in np.linspace(-3, 5, 4001)]
    assert budget.delta(epsilon) == pytest.approx(max(gains), rel=1e-5)


def test_parts_compose_to_the_whole() -> None:
    whole = Budget.approximate(2.0, 1e-6)
    parts = [whole.part(share) for share in (0.2, 0.3, 0.5)]
    assert sqrt(sum(part.mu**2 for part in parts)) == pytest.approx(whole.mu)


def test_no_privacy_is_no_noise() -> None:
    assert Budget(inf).noise(3.0) == 0
    assert Budget(inf).delta(5.0) == 1


@pytest.mark.parametrize("make", [lambda: Budget(0), lambda: Budget.concentrated(-1), lambda: Budget.approximate(1, 0)])
def test_what_is_no_budget_is_refused(make: object) -> None:
    with pytest.raises(ValueError, match=r"positive|between"):
        make()  # type: ignore[operator]
