"""`longthink keys`: what it prints, what it writes, and what it leaves alone."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from server.__main__ import main
from server.admission.keys import Keys
from server.admission.refusals import Unauthorized


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def create(path: Path, id: str, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert main(["keys", "create", "--file", str(path), "--id", id, *more]) == 0
    return capsys.readouterr().out.strip()


def test_a_key_is_shown_once(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = create(path, "team", capsys, "--name", 'The "A" team ☺🙂\x7f\n', "--requests-per-minute", "60")
    assert re.fullmatch("lt-team-[0-9a-f]{64}", key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secret, text = key.rpartition("-")[2], path.read_text()
    assert secret not in text
    assert main(["keys", "list", "--file", str(path)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("team active name=")
    assert "requests_per_minute=60" in shown
    assert not re.search("[0-9a-f]{64}", shown)
    assert Keys(path).find(key).requests_per_minute == 60


def test_all_terms_can_be_set(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = "--tokens-per-minute 5 --tokens-per-day 6 --max-budget 4 --max-running 2 --priority -3 --models a b"
    key = create(path, "t", capsys, *more.split(), "--decoders", "rc", "--allow-training", "--expires", "2999-01-01")
    terms = Keys(path).find(key)
    assert terms.allow_training
    assert (terms.tokens_per_minute, terms.tokens_per_day, terms.max_budget, terms.max_running) == (5, 6, 4, 2)
    assert (terms.priority, terms.models, terms.decoders) == (-3, ["a", "b"], ["rc"])


def test_revoking_leaves_everything_else_as_it_stands(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text("# ours\n")
    first, second = create(path, "a", capsys), create(path, "ab", capsys, "--max-budget", "7")
    text = path.read_text().replace("[keys.a]\n", "[keys.a]  # the first\ndisabled = false\n")
    path.write_text(text)
    for _ in range(2):
        assert main(["keys", "revoke", "--file", str(path), "--id", "a"]) == 0
    assert path.read_text() == text.replace("disabled = false", "disabled = true")
    with pytest.raises(Unauthorized, match="disabled"):
        Keys(path).find(first)
    assert main(["keys", "revoke", "--file", str(path), "--id", "ab"]) == 0
    assert path.read_text().startswith("# ours\n")
    with pytest.raises(Unauthorized, match="disabled"):
        Keys(path).find(second)


def test_mistakes_end_with_2_and_change_nothing(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    create(path, "team", capsys)
    before = path.read_text()
    for wrong in (
        ["create", "--id", "team"],
        ["create", "--id", "a b"],
        ["create", "--id", "x", "--max-budget", "0"],
        ["revoke", "--id", "nobody"],
    ):
        assert main(["keys", *wrong, "--file", str(path)]) == 2
        assert capsys.readouterr().out == ""
    monkeypatch.delenv("LONGTHINK_KEYS", raising=False)
    assert main(["keys", "list"]) == 2
    path.write_text(inline := f"keys.a = {{hash = '{'0' * 64}'}}\n")
    assert main(["keys", "revoke", "--id", "a", "--file", str(path)]) == 2
    assert path.read_text() == inline
    path.write_text(before)
    monkeypatch.setenv("LONGTHINK_KEYS", str(path))
    assert main(["keys", "list"]) == 0


def test_a_server_without_its_file_does_not_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "none.toml"
    assert main(["serve", "--engine", "scripted", "--port", "0", "--keys", str(missing)]) == 2
    assert "none.toml" in capsys.readouterr().err
