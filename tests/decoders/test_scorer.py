from __future__ import annotations

from pathlib import Path

import pytest

from decoders.prompts import Pack
from decoders.rewards.features import NAMES, features
from decoders.rewards.scorer import Scorer, read

ASKED = "Use 9 8 5 to make 22"
SCORER = Scorer(bias=-1.0, weights=dict.fromkeys(NAMES, 0.0) | {"reached": 3.0}, public=1, privacy=None)


@pytest.mark.parametrize(
    ("answer", "name", "value"),
    [
        ("9 + 8 = 17, 17 + 5 = 22", "true", 1.0),
        ("9 + 8 = 16, 17 + 5 = 22", "true", 0.5),
        ("9 + 8 = 17, 17 + 5 = 22", "invented", 0.0),
        ("9 + 7 = 16, 17 + 5 = 22", "invented", 0.5),
        ("9 + 9 = 18", "reused", 0.5),
        ("9 + 8 = 17, 17 + 5 = 22", "reached", 1.0),
        ("17 + 5 = 21", "reached", 0.0),
        ("9 + 8 = 17", "covered", 0.5),
        ("9 + 8 = 17.", "ends in an equation", 1.0),
        ("9 + 8 = 17, 17 +", "ends in an equation", 0.0),
        ("so 9 + 8 = 17", "other words", 1 / 6),
        ("9 × 8 = 72, 8 ÷ 0 = 3, 5 − 9 = -4", "true", 2 / 3),
    ],
)
def test_features_say_what_their_names_say(answer: str, name: str, value: float) -> None:
    assert features(ASKED, answer)[name] == pytest.approx(value)


@pytest.mark.parametrize("answer", ["", "=", "1" * 10_000, "1 + 1 = 2 " * 5000, "∞ + ∞ = ∞", "\ud800"])
def test_features_are_bounded_whatever_is_said(answer: str) -> None:
    for question in (ASKED, "", answer):
        assert all(0 <= value <= 1 for value in features(question, answer).values())


def test_a_mark_is_a_chance_and_survives_the_file(tmp_path: Path) -> None:
    SCORER.write(tmp_path / "judge.json")
    found = read(tmp_path / "judge.json")
    assert found == SCORER
    assert found.mark(ASKED, "22 + 0 = 22") == pytest.approx(0.881, abs=1e-3)
    assert found.mark(ASKED, "nothing") == pytest.approx(0.269, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "is no scorer"),
        (SCORER.model_copy(update={"weights": {"smell": 1.0}}).model_dump_json(), "other features.*smell"),
        (SCORER.model_dump_json(exclude={"privacy"}), "privacy"),
    ],
)
def test_what_is_no_scorer_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "judge.json").write_text(text)
    with pytest.raises(ValueError, match=said):
        read(tmp_path / "judge.json")


def test_a_pack_for_marks_takes_them_as_verdicts_and_others_do_not() -> None:
    marks, plain = Pack.load("scorer"), Pack.load("plain")
    assert (marks.acceptance("0.250000"), marks.acceptance("1.000000"), marks.acceptance("?")) == (0.25, 1.0, 0.0)
    assert (marks.accepts("0.499999"), marks.accepts("0.500000")) == (False, True)
    assert (plain.acceptance("Verdict: correct"), plain.acceptance("Score: 0.7")) == (1.0, 0.0)
