from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.curves import load, paired
from benchmarks.figures import Summary
from benchmarks.page import render
from benchmarks.rows import DamagedFile, Journal, Row
from tests.benchmarks.test_bench_plot import results

PAGE = """# Page

<!-- results: settings kept -->
<!-- end -->
<!-- results: chosen kept rc turns=16; self_consistency n=4 -->
<!-- end -->
<!-- results: nearest kept 1500 -->
| decoder | idea | solved | tokens | with |
|---|---|---|---|---|
| [`rc`](#rc) | again | by | hand | x |
| [`tti`](#tti) | act | not here | | |
<!-- end -->
"""


@pytest.fixture
def raw(tmp_path: Path) -> list[Path]:
    rc = results(tmp_path / "rc.jsonl", "rc", "turns", {1: 0.1, 4: 0.5, 16: 0.9})
    n = results(tmp_path / "parallel.jsonl", "self_consistency", "n", {1: 0.1, 4: 0.3}, cost=110)
    return [rc, n]


@pytest.fixture
def kept(raw: list[Path], tmp_path: Path) -> Path:
    file = tmp_path / "data" / "kept.json"
    assert main(["figures", *map(str, raw), "--about", "today", "--output", str(file)]) == 0
    return file


def test_figures_make_the_same_curves_as_the_rows(raw: list[Path], kept: Path) -> None:
    before, after = load(raw), load([kept])
    assert [c.label for c in after] == [c.label for c in before] == ["rc", "self_consistency"]
    assert [[p.figures for p in c.points] for c in after] == [[p.figures for p in c.points] for c in before]
    with pytest.raises(ValueError, match="no problem in common"):
        paired(*after)


def test_what_is_kept_is_a_line_a_setting_and_counts_what_rows_said(raw: list[Path], kept: Path) -> None:
    with Journal(raw[0]) as journal:
        row = journal.rows[0]
        journal.append(row.model_copy(update={"problem": "cut", "answer": "7", "correct": False, "finish": "length"}))
        journal.append(row.model_copy(update={"problem": "failed", "error": "no"}))
    assert main(["figures", str(raw[0]), "--about", "today", "--output", str(kept)]) == 0
    assert len(kept.read_text().splitlines()) == 2 + 3
    found = Summary.load(kept)
    first = found.figures[0]
    assert (found.about, first.name) == ("today", "rc turns=1")
    assert (first.n, first.right, first.tokens, first.cut, first.answered) == (51, 5, 100, 1, 1)


def test_settings_of_one_decoder_stand_together(tmp_path: Path) -> None:
    file = results(tmp_path / "a.jsonl", "rc", "turns", {1: 0.1})
    results(file, "direct", "max_tokens", {64: 0.1})
    results(file, "rc", "turns", {2: 0.1})
    assert main(["figures", str(file), "--about", "x", "--output", str(tmp_path / "a.json")]) == 0
    assert [f.name for f in Summary.load(tmp_path / "a.json").figures] == [
        "rc turns=1",
        "rc turns=2",
        "direct max_tokens=64",
    ]


def test_a_page_shows_the_figures_that_are_kept(kept: Path) -> None:
    page = render(PAGE, kept.parent)
    assert "| rc turns=16 | 50 | 90.0 % | 78.6 to 95.7 | 1600 | 0.0 % | " in page
    assert "| `rc`, turns = 16 | 1,600 | 90.0 % (78.6 to 95.7) |\n| `self_consistency`, n = 4 | 440 |" in page
    assert "| [`rc`](#rc) | again | 90.0 % (78.6 to 95.7) | 1,600 | turns = 16 |" in page
    assert "| [`tti`](#tti) | act | not here | | |" in page
    assert render(page, kept.parent) == page


def test_interactions_stand_by_level_and_rule(tmp_path: Path) -> None:
    row = Row(
        model="m", task="site", level="2-find", split="test", decoder="tti", options={}, problem="p", request_seed=1
    )
    with Journal(tmp_path / "a.jsonl") as journal:
        for steps in (2, 4, 8):
            for answers in (1, 2):
                options = {"min_answers": answers, "max_steps": steps}
                journal.append(row.model_copy(update={"options": options, "correct": steps > 2, "answer": "x"}))
    assert main(["figures", str(tmp_path / "a.jsonl"), "--about", "x", "--output", str(tmp_path / "a.json")]) == 0
    picture = tmp_path / "a.svg"
    assert main(["interaction-picture", str(tmp_path / "a.json"), "--output", str(picture)]) == 0
    assert "<svg" in picture.read_text()
    page = render("<!-- results: interactions a 2 8 -->\n<!-- end -->\n", tmp_path)
    assert "| 2-find | 1 | 0.0 | 100.0 (20.7 to 100.0) |\n| 2-find | 2 | 0.0 | 100.0 (20.7 to 100.0) |" in page


def test_walkers_are_told_apart(tmp_path: Path) -> None:
    same = {"task": "site", "level": "2-find", "split": "test", "decoder": "tti", "request_seed": 1, "problem": "p"}
    with Journal(tmp_path / "a.jsonl") as journal:
        for model in ("eager", "thorough"):
            options = {"min_answers": 1, "max_steps": 2}
            correct = model == "thorough"
            journal.append(Row.model_validate({**same, "model": model, "options": options, "correct": correct}))
    assert main(["figures", str(tmp_path / "a.jsonl"), "--about", "x", "--output", str(tmp_path / "a.json")]) == 0
    page = render("<!-- results: interactions a 2 -->\n<!-- end -->\n", tmp_path)
    assert "| eager, 2-find | 1 | 0.0 (" in page
    assert "| thorough, 2-find | 1 | 100.0 (" in page


def test_tables_that_a_command_has_written_are_shown_as_they_are(tmp_path: Path) -> None:
    files = [results(tmp_path / f"{name}.jsonl", name, "n", {1: 0.1, 4: 0.5}) for name in ("rc", "direct")]
    table = tmp_path / "equal.md"
    assert main(["compare", *map(str, files), "--resamples", "20", "--table", str(table)]) == 0
    page = render("<!-- results: written equal -->\nold\n<!-- end -->\n", tmp_path)
    assert page == f"<!-- results: written equal -->\n{table.read_text().strip()}\n<!-- end -->\n"
    with pytest.raises(FileNotFoundError):
        render("<!-- results: written nothing -->\n<!-- end -->\n", tmp_path)


def test_the_command_writes_pages_and_checks_them(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    command = ["page", str(page), "--data", str(kept.parent)]
    assert main([*command, "--check"]) == 1
    assert page.read_text() == PAGE
    assert main(command) == 0
    assert main([*command, "--check"]) == 0
    assert "page.md is out of date" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("mark", "told"),
    [
        ("fly kept", "there is no view 'fly'"),
        ("chosen kept rc turns=3", "nothing was measured with 'rc turns=3'"),
        ("settings fly", "fly.json"),
    ],
)
def test_what_cannot_be_shown_is_told(mark: str, told: str, kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = kept.parent / "page.md"
    page.write_text(f"<!-- results: {mark} -->\n<!-- end -->\n")
    assert main(["page", str(page), "--data", str(kept.parent)]) == 2
    assert told in capsys.readouterr().err


def test_a_file_that_holds_no_figures_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(DamagedFile, match="holds no figures"):
        load([tmp_path / "a.json"])
