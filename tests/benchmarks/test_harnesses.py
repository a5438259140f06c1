"""The harnesses of others run the commands of docs/clients.md, word for word, against the shipped checkpoint."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harnesses.problems import COUNT, FILE, render
from tests.clients.conftest import shipped
from tests.docs.markdown import ROOT, read

__all__ = ["shipped"]


def run(harness: str, url: str, results: Path) -> str:
    """What the documented command of a harness prints; its files go under `results`."""
    [block] = (block.text for block in read(Path("docs/clients.md")).fences("bash") if f"{harness} " in block.text)
    command = re.sub("^make .*\n", "", block)
    found = re.search(r"(\.venv[\w-]*)/bin/\w+", command)
    assert found is not None
    if not (ROOT / found[0]).exists():
        pytest.skip(f"{harness} is in an environment of its own: make {found[1]}/ready")
    command = command.replace("http://127.0.0.1:8000", url.removesuffix("/v1")).replace("results/", f"{results}/")
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def written(results: Path, pattern: str) -> Any:
    [file] = results.rglob(pattern)
    return json.loads(file.read_bytes())


def test_the_problems_are_those_of_the_task() -> None:
    assert FILE.read_text(encoding="utf-8") == render()


def test_lm_eval(shipped: str, tmp_path: Path) -> None:
    run("lm_eval", shipped, tmp_path)
    found = written(tmp_path, "results_*.json")
    assert found["n-samples"]["countdown"]["effective"] == COUNT
    assert found["results"]["countdown"]["solved,none"] >= 0.7


def test_inspect_ai(shipped: str, tmp_path: Path) -> None:
    run("inspect_ai", shipped, tmp_path)
    log = written(tmp_path, "*.json")
    assert (log["status"], log["results"]["completed_samples"]) == ("success", COUNT)
    assert log["results"]["scores"][0]["metrics"]["accuracy"]["value"] >= 0.7
    [usage] = log["stats"]["model_usage"].values()
    assert 0 < usage["reasoning_tokens"] < usage["output_tokens"]


def test_guidellm(shipped: str, tmp_path: Path) -> None:
    run("guidellm", shipped, tmp_path)
    [measured] = written(tmp_path, "guidellm.json")["benchmarks"]
    assert {kind: len(requests or ()) for kind, requests in measured["requests"].items() if requests} == {
        "successful": COUNT
    }
    assert all(request["output_metrics"]["text_tokens"] > 0 for request in measured["requests"]["successful"])


def test_vllm_bench(shipped: str, tmp_path: Path) -> None:
    told = run("vllm_bench", shipped, tmp_path)
    assert re.search(rf"Successful requests: +{COUNT} *\n", told)
    assert re.search(r"Total generated tokens: +[1-9]", told)
