"""The comparison over real processes; with the peers themselves where they are installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.peers.installation import installed
from benchmarks.servers import free_port, started

INSTALLED = Path(__file__).parents[2] / ".peers"
QUICK = ["--rounds", "1", "--requests", "8", "--concurrency", "4", "--sequential", "2", "--delay", "1"]


def peers(folder: Path, *more: str) -> list[dict[str, Any]]:
    out = folder / "peers.json"
    assert main(["peers", *QUICK, "--output", str(out), *more]) == 0
    found: list[dict[str, Any]] = json.loads(out.read_text())["contenders"]
    return found


def calls(contender: dict[str, Any]) -> float:
    one, many = (contender[f"{load}_at_a_time"]["rounds"][0]["upstream_calls"] for load in ("one", "many"))
    assert one == many
    return float(many)


def test_longthink_beside_the_upstream_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = peers(tmp_path, "--peers", "none", "--table", str(tmp_path / "peers.md"))
    names = ["the upstream alone", "longthink", "longthink self_consistency", "longthink best_of_n"]
    assert [contender["name"] for contender in found] == names
    assert [calls(contender) for contender in found] == [1, 1, 5, 4]
    assert found[0]["ratios_to_upstream"] == [1]
    assert all(contender["many_at_a_time"]["rounds"][0]["server_cpu_ms"] is not None for contender in found)
    assert all(len(contender["added_ms"]) == 1 and contender["ratios_to_optillm"] == [] for contender in found)
    shown = capsys.readouterr().out
    assert "| self-consistency of 5: longthink self_consistency |" in shown
    assert (tmp_path / "peers.md").read_text() == shown


@pytest.mark.parametrize(("peer", "expected"), [("optillm", [1, 5, 4]), ("its_hub", [1, 5])])
def test_a_peer_does_the_same_work(peer: str, expected: list[int], tmp_path: Path) -> None:
    if not installed(peer, INSTALLED):
        pytest.skip(f"{peer} is not installed: `longthink bench peers` does it")
    found = peers(tmp_path, "--peers", peer, "--environments", str(INSTALLED))
    theirs = [contender for contender in found if contender["name"].startswith(peer)]
    assert [calls(contender) for contender in theirs] == expected
    ratios = [contender["ratios_to_optillm"] for contender in found if contender["name"].startswith("longthink")]
    assert all(len(ratio) == (peer == "optillm") for ratio in ratios)


def test_only_what_was_installed_to_its_end_as_wanted_now_counts(tmp_path: Path) -> None:
    place = tmp_path / "its_hub"
    place.mkdir()
    assert not installed("its_hub", tmp_path)
    (place / "installed.txt").write_text("pip install its_hub[iaas]==1.1.0\n")
    assert not installed("its_hub", tmp_path)
    (place / "installed.txt").write_text("pip install its_hub[iaas]==1.2.0\n")
    assert installed("its_hub", tmp_path)


def test_what_cannot_be_installed_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.touch()
    assert main(["peers", *QUICK, "--peers", "its_hub", "--environments", str(file)]) == 2
    assert "longthink bench peers: " in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--peers", "vllm"], ["--rounds", "0"], ["--sequential", "0"]])
def test_wrong_usage_is_told(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["peers", "--peers", "none", *wrong]) == 2
    assert "longthink bench peers: " in capsys.readouterr().err


def test_a_server_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with (
        pytest.raises(OSError, match="no such model"),
        started(command, port=free_port(), health="/", log=tmp_path / "log"),
    ):
        pass
