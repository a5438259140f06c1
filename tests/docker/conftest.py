"""The tools that judge what lies in docker/. A test whose tool is missing is skipped and says where it comes from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"


def tool(name: str, source: str) -> str:
    """The path of an executable beside this Python, on the PATH, or where Debian puts daemons."""
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin"]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        pytest.skip(f"there is no {name} here: {source}")
    return found


def call(*command: str | Path, **options: object) -> str:
    """What a command prints; the test fails with it when the command does."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return str(done.stdout)


@pytest.fixture(scope="session")
def promtool() -> str:
    return tool("promtool", "apt-get install prometheus")


@pytest.fixture(scope="session")
def uv() -> str:
    return tool("uv", "pip install uv")
