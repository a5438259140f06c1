"""Flags over environment over file over default, and nothing ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.model_options import UpstreamHost
from server.settings import load


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [n for n in os.environ if n.startswith("LONGTHINK_")]:
        monkeypatch.delenv(name)


def test_defaults() -> None:
    settings = load([])
    assert (settings.host, settings.port, settings.model) == ("127.0.0.1", 8000, None)
    assert (settings.name, settings.kind, settings.decoder) == ("longthink-tiny", "embedded", "direct")
    assert (settings.embedded.slots, settings.serving) == (64, [settings])


def test_each_source_wins_over_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "server.toml"
    file.write_text('port = 1\nmax_budget = 10\neffort = "low"\n[embedded]\nslots = 3\nthreads = 2\n')
    monkeypatch.setenv("LONGTHINK_PORT", "2")
    monkeypatch.setenv("LONGTHINK_MAX_BUDGET", "20")
    monkeypatch.setenv("LONGTHINK_EMBEDDED__THREADS", "4")
    settings = load(["--config", str(file), "--port", "3", "--embedded.device", "cpu"])
    assert (settings.port, settings.max_budget, settings.effort) == (3, 20, "low")
    assert (settings.embedded.slots, settings.embedded.threads, settings.embedded.device) == (3, 4, "cpu")
    monkeypatch.setenv("LONGTHINK_CONFIG", str(file))
    assert load([]).embedded.slots == 3


@pytest.mark.parametrize(
    ("text", "named"), [("prot = 1", "prot"), ("port = 'x'", "port"), ("[embedded]\nslot = 1", "embedded.slot")]
)
def test_mistakes_in_the_file_are_named(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "server.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=named):
        load(["--config", str(file)])


def test_other_mistakes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="there is no file"):
        load(["--config", str(tmp_path / "none.toml")])
    broken = tmp_path / "broken.toml"
    broken.write_text("port =")
    with pytest.raises(ValueError, match="settings"):
        load(["--config", str(broken)])
    with pytest.raises(ValueError, match="port"):
        load(["--port", "70000"])
    monkeypatch.setenv("LONGTHINK_PROT", "1")
    with pytest.raises(ValueError, match="LONGTHINK_PROT"):
        load([])


def test_help_explains_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load(["--help"])
    text = capsys.readouterr().out
    assert "--embedded.slots" in text
    assert "Tokens that one request may have generated at most." in " ".join(text.split())


def test_an_unknown_flag_ends_the_process(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load(["--prot", "1"])
    assert "--prot" in capsys.readouterr().err


def test_upstreams_are_urls_or_tables(tmp_path: Path) -> None:
    settings = load(["--upstream", "http://a/v1", "--upstream", "http://b/v1", "--upstream-options.attempts", "2"])
    assert (settings.kind, [host.url for host in settings.hosts]) == ("upstream", ["http://a/v1", "http://b/v1"])
    assert settings.upstream_options.attempts == 2
    file = tmp_path / "server.toml"
    file.write_text('[[upstream]]\nurl = "http://a"\napi_key_env = "KEY"\n[[upstream]]\nurl = "http://b"\n')
    assert load(["--config", str(file)]).hosts[0] == UpstreamHost(url="http://a", api_key_env="KEY")


def test_vllm_takes_any_of_its_arguments() -> None:
    words = "--vllm.tensor-parallel-size 2 --port 1 --vllm.enable-lora --vllm.lora-modules a=x b=y --vllm.dtype=float32"
    settings = load(["--engine", "vllm", *words.split()])
    assert settings.port == 1
    assert settings.vllm == {
        "tensor-parallel-size": "2",
        "enable-lora": True,
        "lora-modules": ["a=x", "b=y"],
        "dtype": "float32",
    }


def test_several_models_come_from_tables(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('[models.solver]\nupstream = ["http://a"]\n[models.judge]\nengine = "scripted"\n')
    assert [(m.name, m.kind) for m in load(["--config", str(file)]).serving] == [
        ("solver", "upstream"),
        ("judge", "scripted"),
    ]
    settings = load(["--config", str(file), "--engine", "embedded"])
    assert [m.name for m in settings.serving] == ["longthink-tiny", "solver", "judge"]
