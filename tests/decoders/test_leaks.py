from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoders.core.leaks import leaks
from decoders.prompts import Format, Pack

BOXED = Pack.load("plain").format()
FREE = Format()


@pytest.mark.parametrize(
    ("text", "given_away"),
    [("it is 1240.", True), ("about 12401", False), ("x1240", False), (r"\boxed{3}", True), ("boxed 3", False)],
)
def test_answers_tell_as_whole_words_or_in_the_answers_form(text: str, given_away: bool) -> None:
    assert leaks(text, ["1240"], BOXED) is given_away


@pytest.mark.parametrize(
    "text",
    [
        "so x = 2",
        "x=2, then",
        "The answer is 2.",
        "Answer: **2**",
        "which gives 2",
        "the value is $2$",
        r"$x = \left(2",
    ],
)
def test_a_short_answer_tells_as_a_result(text: str) -> None:
    assert leaks(text, ["2"], FREE)


@pytest.mark.parametrize(
    "text",
    [
        "Take the 2 cases apart",
        "n = 2k + 1",
        "s = 2 + 3",
        "s = 2.5",
        "s = 20",
        "x_2 = y",
        "s = 2 * a",
        "= 2/3",
        "in 1,200 ways",
    ],
)
def test_a_short_answer_stands_in_many_an_honest_text(text: str) -> None:
    assert not leaks(text, ["2"], FREE)


@pytest.mark.parametrize(
    ("text", "given_away"),
    [
        ("there are 12 of them", False),
        ("s = 12", True),
        ("s = 12.", True),
        ("s = 120", False),
        ("s = 3, not 12", False),
    ],
)
def test_two_digits_are_short(text: str, given_away: bool) -> None:
    assert leaks(text, ["12"], FREE) is given_away


@pytest.mark.parametrize("answer", ["1/2", r"\frac{1}{2}", r"\dfrac12", "$1 / 2$"])
@pytest.mark.parametrize(
    ("text", "given_away"),
    [(r"get \frac{1}{2} of it", True), ("1 / 2", True), ("take 11/2", False), ("1/23", False), ("half of it", False)],
)
def test_fractions_are_read_alike_however_they_are_set(answer: str, text: str, given_away: bool) -> None:
    assert leaks(text, [answer], FREE) is given_away


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("1,240", "about 1240"),
        ("1240", "1,240 of them"),
        ("(3, 4)", "at (3,4)."),
        ("(3,4)", "at ( 3, 4 )"),
        ("Paris", "PARIS"),
    ],
)
def test_dress_does_not_count(answer: str, text: str) -> None:
    assert leaks(text, [answer], FREE)


def test_any_of_several_answers_tells_and_an_empty_one_never() -> None:
    assert leaks("it is 1240", ["77", "1240"], FREE)
    assert not leaks("it is 1240", ["", " "], FREE)
    assert not leaks("it is 1240", [], FREE)


@given(st.text(max_size=60), st.text(max_size=20))
def test_any_text_is_read_without_an_error(text: str, answer: str) -> None:
    assert leaks(text, [answer], BOXED) in (True, False)
