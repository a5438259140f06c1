"""docs/clients.md says what is true: its code runs, its commands exist, its examples are there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from clients import events
from clients.terminal.commands import Commands

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
ANSWER = "9 + 1 = 10, 10 * 6 = 60, 60 - 11 = 49"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def run(command: list[str], url: str, folder: Path) -> str:
    environment = {**os.environ, "LONGTHINK_BASE_URL": url, "PYTHONPATH": str(ROOT), "PATH": f"{folder}:/usr/bin:/bin"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_python_code_runs_from_top_to_bottom(shipped: str, tmp_path: Path) -> None:
    told = run([sys.executable, "-c", "\n".join(blocks("python"))], shipped, tmp_path)
    assert f"{ANSWER} 1957\n" in told
    assert told.count(ANSWER) >= 4


def test_the_commands_run(shipped: str, tmp_path: Path) -> None:
    command = tmp_path / "longthink"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m server "$@"\n')
    command.chmod(0o755)
    lines = [line.removeprefix("$ ") for block in blocks("console") for line in block.splitlines()]
    assert len(lines) == 5
    told = [run(["sh", "-c", line], shipped, tmp_path) for line in lines]
    assert all(option in told[0] for option in re.findall(r" (--[a-z]+)", "\n".join(lines)))
    assert all(ANSWER in text for text in told[1:])


def test_every_slash_command_is_there_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    table = PAGE[PAGE.index("| command |") : PAGE.index("Ctrl-C stops")]
    names = {name.removeprefix("do_") for name in vars(Commands) if name.startswith("do_")}
    assert set(re.findall(r"`/(\w+)", table)) == names


def test_every_event_and_example_is_there() -> None:
    table = PAGE[PAGE.index("| event |") : PAGE.index("`run.progress` adds")]
    kinds = {name for name in vars(events) if getattr(vars(events)[name], "__module__", "") == events.__name__}
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == {name for name in kinds if name[0].isupper()}
    examples = {path.name for path in (ROOT / "clients" / "examples").iterdir() if path.is_file()}
    assert set(re.findall(r"`(\w+\.(?:py|sh|mjs))`", PAGE[PAGE.index("## Other clients") :])) == examples
