"""Servers for clients to talk to."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients import LongThink
from decoders.core.messages import Prompt
from server.engines.scripted import ScriptedEngine
from tests.server.conftest import Live, logging_stays, serving

__all__ = ["logging_stays"]

NODE = Path(__file__).parent / "node"


def speak(prompt: Prompt, seed: int) -> str:
    """Judges accept; everything else thinks and answers 42 or, less often, 41."""
    if "Verdict:" in prompt.messages[-1].content:
        return "Verdict: correct"
    return f"<think>{'one two three ' * 5}</think>it is \\boxed{{{42 if seed % 3 else 41}}}"


@pytest.fixture(scope="module")
def speaking() -> Iterator[Live]:
    with serving(base=ScriptedEngine(speak, model="base", token_delay=0.0005)) as running:
        yield running


@pytest.fixture(scope="module")
def client(speaking: Live) -> Iterator[LongThink]:
    with LongThink(base_url=f"{speaking.url}/v1", max_retries=0) as made:
        yield made


@pytest.fixture(scope="session")
def node() -> Path:
    """A folder with the official Node client and `check.mjs`.

    npm installs it once, into a folder of the temporary directory that is named after what package.json asks for.
    """
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm or node is missing: install Node.js 20 or newer (apt-get install nodejs npm)")
    digest = hashlib.sha256((NODE / "package.json").read_bytes()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"longthink-node-{digest}"
    folder.mkdir(exist_ok=True)
    for name in ("package.json", "check.mjs"):
        shutil.copyfile(NODE / name, folder / name)
    if not (folder / "node_modules" / "openai" / "package.json").is_file():
        command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode:
            shutil.rmtree(folder / "node_modules", ignore_errors=True)
            how = "npm could not install the client, which needs a registry (npm config set registry URL)"
            pytest.skip(f"{how}: {done.stderr[-300:]}")
    return folder


@pytest.fixture(scope="session")
def shipped() -> Iterator[str]:
    """The URL of a server as `make serve` starts it, with the shipped checkpoint, on a free port."""
    command = [sys.executable, "-m", "server", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line + process.stdout.read()
        yield f"{found.group()}/v1"
        process.terminate()
        process.communicate(timeout=30)
