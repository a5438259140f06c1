"""A suite is a list of accuracy runs, and its panels show every decoder."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import panels, suite
from benchmarks.curves import load
from benchmarks.rows import Journal
from decoders import registry
from tests.benchmarks.conftest import FakeEndpoint

SUITE = """
[[runs]]
decoder = "direct"
budget = [50]
[[runs]]
decoder = "rc"
sweep = { turns = [1, 4] }
set = { inner = "direct", stop_when_stable = 2 }
"""


def run(endpoint: FakeEndpoint, folder: Path, *more: str, text: str = SUITE) -> int:
    file = folder / "some.toml"
    file.write_text(text)
    output = str(folder / "out.jsonl")
    return suite.main([str(file), "--url", endpoint.url, "--problems", "8", "--output", output, *more])


def test_a_suite_asks_every_setting_once(endpoint: FakeEndpoint, tmp_path: Path) -> None:
    assert run(endpoint, tmp_path) == 0
    asked = [body["decoder"] for body in endpoint.requests]
    wanted = [
        {"name": "direct"},
        {"name": "rc", "turns": 1, "inner": "direct", "stop_when_stable": 2},
        {"name": "rc", "turns": 4, "inner": "direct", "stop_when_stable": 2},
    ]
    assert [asked.count(decoder) for decoder in wanted] == [8, 8, 8]
    assert {b["max_completion_tokens"] for b in endpoint.requests if b["decoder"]["name"] == "direct"} == {50}
    assert run(endpoint, tmp_path) == 0
    assert len(endpoint.requests) == 24
    with Journal(tmp_path / "out.jsonl") as journal:
        assert {row.axis for row in journal.rows if row.decoder == "rc"} == {"turns"}


def test_only_some_decoders(endpoint: FakeEndpoint, tmp_path: Path) -> None:
    assert run(endpoint, tmp_path, "--only", "direct") == 0
    assert {body["decoder"]["name"] for body in endpoint.requests} == {"direct"}
    assert run(endpoint, tmp_path, "--only", "nope") == 2


@pytest.mark.parametrize("text", ["[[runs]]\nsweep = {}", '[[runs]]\ndecoder = "rc"\nturn = 3', "", "runs = ["])
def test_a_file_that_is_no_suite_is_refused(
    endpoint: FakeEndpoint, tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(endpoint, tmp_path, text=text) == 2
    assert "longthink bench suite:" in capsys.readouterr().err


def test_our_suites_name_real_decoders_and_options() -> None:
    for name in suite.names():
        options = suite.parser().parse_args([name, "--output", "none"])
        for setting in suite.settings(options):
            registry()[setting.decoder].model_validate(setting.options)


def test_panels_show_every_decoder(endpoint: FakeEndpoint, tmp_path: Path) -> None:
    run(endpoint, tmp_path)
    figure = panels.draw(load([tmp_path / "out.jsonl"]), ["rc"])
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == ["direct", "rc"]
    assert [len(axes.get_lines()) for axes in shown] == [2, 1]
    assert panels.main([str(tmp_path / "out.jsonl"), "--output", str(tmp_path / "p.png")]) == 0
    assert panels.main([str(tmp_path / "none.jsonl"), "--output", str(tmp_path / "p.png")]) == 2
