from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.streams import Figures, Usage, sound

SMALL = ["streams", "--streams", "50", "--tokens", "20", "--interval", "0.1", "--ramp", "0.3"]


def test_many_streams_leave_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "streams.jsonl"
    assert main([*SMALL, "--abandon", "0.4", "--output", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["outcomes"] == {"finished": 30, "left": 20}
    assert found["during"]["running"] + found["during"]["waiting"] == 50
    assert found["after"]["running"] == found["after"]["waiting"] == 0
    assert found["after"]["files"] <= found["before"]["files"]
    assert found["during"]["files"] >= found["before"]["files"] + 50
    assert "| added latency per token p99 |" in capsys.readouterr().out


def test_a_signal_amid_the_streams_cuts_none_of_them(tmp_path: Path) -> None:
    out = tmp_path / "streams.jsonl"
    assert main([*SMALL, "--sigterm", "--output", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["outcomes"] == {"finished": 50}
    assert found["exit_status"] == 0


def test_streams_that_outlast_the_drain_are_told(tmp_path: Path) -> None:
    out = tmp_path / "streams.jsonl"
    assert main([*SMALL, "--sigterm", "--drain", "0.2", "--output", str(out)]) == 0
    assert json.loads(out.read_text())["outcomes"] == {"told an error": 50}


def test_what_is_cut_off_or_left_over_is_not_sound() -> None:
    before, more = Usage(1, 10, 0, 0), Usage(1, 11, 0, 0)
    assert sound(Figures(outcomes={"finished": 1, "left": 1}, before=before, after=before))
    assert not sound(Figures(outcomes={"truncated": 1}))
    assert not sound(Figures(outcomes={"finished": 1}, before=before, after=more))
    assert not sound(Figures(outcomes={"finished": 1}, before=before, after=Usage(1, 10, 0, 1)))
    assert not sound(Figures(outcomes={"finished": 1}, exit_status=1))


@pytest.mark.parametrize("wrong", [["--streams", "0"], ["--interval", "0"], ["--abandon", "2"]])
def test_wrong_usage_is_told(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, *wrong]) == 2
    assert "longthink bench streams: " in capsys.readouterr().err
