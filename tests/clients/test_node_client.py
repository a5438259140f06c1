"""The official Node client: the same server, seen by another reader of the same API."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from server.engines.scripted import ScriptedEngine
from tests.server.conftest import serving

REPLY = "<think>one two three</think>four five"


def test_node_reads_every_dialect(node: Path) -> None:
    with serving(base=ScriptedEngine([REPLY], model="base")) as running:
        command = ["node", "check.mjs", running.url, "base"]
        done = subprocess.run(command, cwd=node, capture_output=True, text=True, timeout=120, check=False)
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
