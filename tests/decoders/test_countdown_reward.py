from __future__ import annotations

import pytest

from decoders.rewards.countdown import combine, explain


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("8 - 5 = 3, 9 - 3 = 6, 6 * 5 = 30", None),
        ("8 - 5 = 3 , 9 - 3 = 6 , 6*5=30 .", None),
        ("9 - 8 = 1, 5 + 1 = 6, 6 * 5 = 30", None),
        ("", "states no step"),
        ("30", "states no step"),
        ("8 - 5 = 3, 9 - 3 = 6, 6 * 5 = 30 I think", "something else"),
        ("8 - 5 = 3, 9 - 3 = 6", "left over"),
        ("5 - 8 = 3, 9 - 3 = 6, 6 * 5 = 30", "is not 3"),
        ("8 - 5 = 4, 9 - 4 = 5, 5 + 5 = 10", "is not 4"),
        ("8 - 5 = 3, 9 - 3 = 6, 6 + 5 = 11", "make 11, not 30"),
        ("8 - 8 = 0, 9 - 3 = 6", "8 is not available"),
        ("9 * 8 = 72, 72 - 5 = 67", "is not 72 by the rules"),
        ("5 - 5 = 0, 9 + 8 = 17", "is not 0 by the rules"),
        ("5 * 6 = 30", "6 is not available"),
    ],
)
def test_an_answer_is_right_or_the_reason_is_given(answer: str, reason: str | None) -> None:
    found = explain([5, 8, 9, 5], 30, answer)
    if reason is None:
        assert found is None
    else:
        assert found is not None
        assert reason in found


def test_results_stay_between_1_and_60() -> None:
    assert (combine(30, "+", 30), combine(30, "+", 31)) == (60, None)
    assert (combine(5, "-", 4), combine(5, "-", 5), combine(4, "-", 5)) == (1, None, None)
    assert (combine(12, "*", 5), combine(12, "*", 6)) == (60, None)
