"""A run that is killed at any moment ends, once it is started again, with the same weights to the last bit."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

SHARED = {"steps": 6, "batch": 2, "updates": 2, "parts": 2, "save_every": 1, "learning_rate": 1e-3, "device": "cpu"}
FEW = {"name": "few", "problems": 3, "max_completion_tokens": 60}
RECIPES: dict[str, dict[str, Any]] = {
    "grpo": {"group": 6, "max_tokens": 100, "loss": {"kl": 0.01}, "evaluations": [FEW], "evaluate_every": 3},
    "rc": {
        **{"group": 6, "turns": 2, "reasoning_tokens": 60, "summary_tokens": 16, "buffer": True, "pool": 2},
        **{"levels": ["medium"], "evaluations": [{**FEW, "decoder": {"name": "rc", "turns": 2}}]},
    },
    "tti": {
        **{"schedule": "additive", "shortest": 4, "growth": 2, "every": 2, "replay": 4, "capacity": 8},
        "evaluations": [{**FEW, "task": "site", "level": "3-find", "decoder": {"name": "tti", "max_steps": 4}}],
    },
}
"""A recipe without a memory of its own, one with a buffer of states, one with a curriculum and a buffer of rows."""


def start(recipe: str, output: Path) -> subprocess.Popen[bytes]:
    output.mkdir(exist_ok=True)
    file = output / "settings.json"
    file.write_text(json.dumps({**SHARED, **RECIPES[recipe], "output": str(output)}))
    command = [sys.executable, "-m", "training", recipe, "--config", str(file)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors.decode()


def written(output: Path) -> dict[str, Any]:
    """What must be equal: the weights, and everything measured but the time it took."""
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    times = {"seconds", "cpu_seconds", "step_time"}
    return {
        "weights": hashlib.sha256((output / "model.safetensors").read_bytes()).hexdigest(),
        "metrics": [{name: value for name, value in line.items() if name not in times} for line in lines],
        "evaluations": (output / "evaluations.jsonl").read_text(),
    }


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_killed_and_resumed_is_as_if_nothing_had_happened(recipe: str, tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed"
    finish(start(recipe, undisturbed))
    killed = tmp_path / "killed"
    process = start(recipe, killed)
    wanted = random.Random().randint(2, 5)  # any step will do, and over many runs each one is tried
    metrics = killed / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") >= wanted):
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (killed / "model.safetensors").exists()
    finish(start(recipe, killed))
    assert written(killed) == written(undisturbed)
    assert any(line["grad_norm"] for line in written(killed)["metrics"])
