"""The official Node client: the same server, seen by another reader of the same API.

npm installs it once, into a folder of the temporary directory that is named after what package.json asks for.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from server.engines.scripted import ScriptedEngine
from tests.server.conftest import serving

HERE = Path(__file__).parent / "node"
REPLY = "<think>one two three</think>four five"


@pytest.fixture(scope="module")
def client() -> Path:
    """The folder with the client and the script."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm or node is missing: install Node.js 20 or newer (apt-get install nodejs npm)")
    digest = hashlib.sha256((HERE / "package.json").read_bytes()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"longthink-node-{digest}"
    folder.mkdir(exist_ok=True)
    for name in ("package.json", "check.mjs"):
        shutil.copyfile(HERE / name, folder / name)
    if not (folder / "node_modules" / "openai" / "package.json").is_file():
        command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode:
            shutil.rmtree(folder / "node_modules", ignore_errors=True)
            how = "npm could not install the client, which needs a registry (npm config set registry URL)"
            pytest.skip(f"{how}: {done.stderr[-300:]}")
    return folder


def test_node_reads_every_dialect(client: Path) -> None:
    with serving(base=ScriptedEngine([REPLY], model="base")) as running:
        command = ["node", "check.mjs", running.url, "base"]
        done = subprocess.run(command, cwd=client, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    numbers = found.pop("numbers")
    assert numbers == list(range(len(numbers)))
    assert found.pop("rest") == numbers[4:]
    assert {"base", "base:rc"} <= set(found.pop("models"))
    assert found == {
        "chat": "four five",
        "usage": 4,
        "streamed": "four five",
        "text": REPLY,
        "response": "four five",
        "last": "response.completed",
        "items": ["hello"],
        "cancelled": "completed",
        "missing": 404,
        "refused": [400, "temperature"],
    }
