from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.curves import load, paired
from benchmarks.rows import Journal, Row

PNG = b"\x89PNG\r\n\x1a\n"


def results(
    file: Path, decoder: str, axis: str, shares: dict[int, float], *, cost: int = 100, n: int = 50, seed: int = 0
) -> Path:
    """Rows in which the first problems are solved and the last are not."""
    with Journal(file) as journal:
        for value, share in shares.items():
            for problem in range(n):
                row = Row(
                    model="m",
                    task="countdown",
                    level="hard",
                    split="test",
                    decoder=decoder,
                    options={axis: value} if axis else {},
                    axis=axis,
                    seed=seed,
                    problem=f"p{problem}",
                    request_seed=1,
                    correct=problem < share * n,
                    completion_tokens=cost * value,
                )
                journal.append(row)
    return file


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    rc = results(tmp_path / "rc.jsonl", "rc", "turns", {1: 0.1, 4: 0.5, 16: 0.9})
    n = results(tmp_path / "parallel.jsonl", "self_consistency", "n", {1: 0.1, 4: 0.3, 16: 0.4}, cost=110)
    return [rc, n]


def test_curves_are_settings_in_the_order_of_their_tokens(files: list[Path]) -> None:
    rc, parallel = load(files)
    assert (rc.label, rc.axis, parallel.label) == ("rc", "turns", "self_consistency")
    assert [(p.spent, p.accuracy) for p in rc.points] == [(100, 0.1), (400, 0.5), (1600, 0.9)]
    problems, ours, theirs = paired(rc, parallel)
    assert len(problems) == 50
    assert ours.correct.shape == theirs.spent.shape == (3, 50)


def test_labels_name_files_and_tell_runs_apart(files: list[Path], tmp_path: Path) -> None:
    assert [c.label for c in load(files, ["A", "B"])] == ["A", "B"]
    results(files[0], "rc", "turns", {1: 0.2}, seed=3)
    assert [c.label for c in load(files[:1])] == ["rc seed=0", "rc seed=3"]
    assert [c.label for c in load(files, ["A", ""])] == ["A rc seed=0", "A rc seed=3", "self_consistency"]
    with pytest.raises(ValueError, match="2 files need 2 labels"):
        load(files, ["A"])


def test_only_problems_that_all_settings_finished_are_compared(tmp_path: Path) -> None:
    a = results(tmp_path / "a.jsonl", "rc", "turns", {1: 0.1, 2: 0.2})
    results(a, "rc", "turns", {4: 0.4}, n=20)
    curve = load([a])[0]
    assert len(paired(curve, curve)[0]) == 20


def test_the_plot_is_a_picture(files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "docs" / "rc.png"
    single = results(tmp_path / "plain.jsonl", "direct", "", {1: 0.2})
    assert main(["plot", *map(str, [*files, single]), "--output", str(picture), "--title", "T"]) == 0
    assert picture.read_bytes().startswith(PNG)
    assert int.from_bytes(picture.read_bytes()[16:20]) == 1600
    assert str(picture) in capsys.readouterr().out


def test_a_plot_of_nothing_says_so(tmp_path: Path, files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.jsonl").touch()
    out = ["--output", str(tmp_path / "x.png")]
    assert main(["plot", str(tmp_path / "empty.jsonl"), *out]) == 2
    assert "no finished rows" in capsys.readouterr().err
    assert main(["plot", str(tmp_path / "missing.jsonl"), *out]) == 2
    assert main(["plot", str(files[0]), "--decoders", "e3", *out]) == 2


def test_the_comparison_is_at_equal_tokens(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *map(str, files), "--label", "RC", "--label", "votes", "--at-tokens", "1600,9999"]) == 0
    out = capsys.readouterr().out
    assert "**RC** (A) against **votes** (B), 50 common problems" in out
    line = next(line for line in out.splitlines() if line.startswith("| 1600 |"))
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[:2] == ["1600", "90.0 %"]
    assert cells[2] == "39.3 %"  # 0.3 + 0.1 ln(1600/440) / ln 4
    assert cells[3].startswith("2.29 (")
    assert cells[4] == "rc turns=16 (1600) : self_consistency n=16 (1760)"
    # 45 solved by RC, the first 20 of them by votes too: 25 : 0, p = 2 / 2^25
    assert cells[5:] == ["25 : 0", "6e-08"]
    assert "B not measured here" in out


def test_a_file_can_be_compared_with_itself(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    both = files[0]
    results(both, "self_consistency", "n", {1: 0.1, 16: 0.4})
    arguments = ["compare", str(both), str(both), "--a-decoder", "rc", "--b-decoder", "self_consistency"]
    assert main(arguments) == 0
    assert "**rc** (A) against **self_consistency** (B)" in capsys.readouterr().out
    assert main([*arguments[:3], "--a-decoder", "nothing"]) == 2
    assert "no decoder 'nothing'" in capsys.readouterr().err
