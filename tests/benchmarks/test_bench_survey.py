"""The survey of a small suite, with the shipped checkpoint behind a server that the command starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import suite, survey
from benchmarks.__main__ import main
from benchmarks.figures import Summary
from benchmarks.rows import read

SUITE = """
[[families]]
task = "countdown"
level = "easy"
problems = 3
checkpoint = "server/checkpoints/longthink-tiny"
[[families]]
task = "residues"
level = "easy"
problems = 3
checkpoint = "runs/none"
trained = "longthink train residues_sft"

[[runs]]
decoder = "direct"
sweep = { max_tokens = [8, 32] }
[[runs]]
decoder = "tti"
sweep = { max_steps = [2, 4] }
"""


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    file, page = tmp_path / "small.toml", tmp_path / "page.md"
    file.write_text(SUITE)
    page.write_text("<!-- results: survey countdown residues -->\n<!-- end -->\n")
    folders = ["--results", str(tmp_path), "--data", str(tmp_path), "--pictures", str(tmp_path), "--page", str(page)]
    return ["survey", str(file), "--about", "today", *folders]


def test_one_command_measures_what_applies_and_writes_the_page(given: list[str], tmp_path: Path) -> None:
    assert main([*given, "--families", "countdown", "--problems", "2"]) == 0
    rows = read(tmp_path / "survey-countdown.jsonl")
    assert sorted((row.decoder, str(row.axis_value)) for row in rows) == [
        *[("direct", "32")] * 2,
        *[("direct", "8")] * 2,
    ]
    assert {row.model for row in rows} == {"longthink-tiny"}
    assert all(row.error is None and row.completion_tokens > 0 for row in rows)
    assert [own.n for own in Summary.load(tmp_path / "survey-countdown.json").figures] == [2, 2]
    page = (tmp_path / "page.md").read_text()
    assert "**countdown easy**, `longthink-tiny`, test problems. today: longthink bench survey" in page
    assert "| direct max_tokens=32 | 2 |" in page
    assert "| `tti` | the decoder needs an environment or tools |" in page
    assert "2 common problems of countdown easy" in page
    assert "**residues**: not measured yet." in page
    for picture in ("survey-countdown.png", "survey-countdown-regret.png"):
        assert f"({picture})" in page
        assert (tmp_path / picture).stat().st_size > 10_000


def test_a_checkpoint_that_is_not_there_names_the_command_that_trains_it(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(given) == 2
    assert "there is no checkpoint runs/none: longthink train residues_sft" in capsys.readouterr().err
    assert main([*given, "--families", "chess"]) == 2


def test_reasons_stand_once() -> None:
    refused = {"rc": "the decoder rc cannot", "direct": "the decoder direct cannot", "e3 loop": "no prompt 'verify'"}
    lines = survey.reasons(refused).splitlines()[2:]
    assert lines == ["| `direct`, `rc` | the decoder cannot |", "| `e3 loop` | no prompt 'verify' |"]


def test_our_survey_has_every_decoder_and_real_tasks() -> None:
    from benchmarks import tasks
    from decoders import registry

    options = suite.parser().parse_args(["survey", "--output", "none"])
    assert {setting.decoder for setting in suite.settings(options)} == set(registry())
    anywhere = [f"--checkpoint={task}=tests" for task in ("countdown", "residues", "sequences", "site")]
    found = survey.families(survey.parser().parse_args(["--about", "x", *anywhere]))
    assert [len(tasks.problems(f.task, f.level, "test", f.problems)) for f in found] == [f.problems for f in found]
