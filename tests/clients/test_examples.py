"""Every example, run as a newcomer would, against the server and the checkpoint that are shipped."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "clients" / "examples"
LITELLM = ROOT / ".venv-litellm" / "bin" / "python"
ANSWER = "9 + 1 = 10, 10 * 6 = 60, 60 - 11 = 49"


def run(command: list[str], shipped: str, folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "LONGTHINK_"))}
    environment |= {"LONGTHINK_BASE_URL": shipped, "PYTHONPATH": str(ROOT), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def python(name: str, shipped: str, folder: Path) -> str:
    return run([sys.executable, str(EXAMPLES / f"{name}.py")], shipped, folder)


def test_curl(shipped: str, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is missing: apt-get install curl")
    whole, *stream = run(["sh", str(EXAMPLES / "curl.sh")], shipped, tmp_path).splitlines()
    assert json.loads(whole)["choices"][0]["message"]["content"] == ANSWER
    chunks = [json.loads(line.removeprefix("data: ")) for line in stream if line.startswith("data: {")]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == ANSWER


def test_openai_in_python(shipped: str, tmp_path: Path) -> None:
    assert python("openai_python", shipped, tmp_path) == f"{ANSWER} for 1957 tokens\n{ANSWER}\n"


def test_openai_in_node(shipped: str, node: Path, tmp_path: Path) -> None:
    # modules are looked for beside the script, so it goes where they are installed
    script = node / f"example-{os.getpid()}.mjs"
    shutil.copyfile(EXAMPLES / "openai_node.mjs", script)
    try:
        assert run(["node", str(script)], shipped, tmp_path) == f"{ANSWER} for 1957 tokens\n{ANSWER}\n"
    finally:
        script.unlink()


def test_our_client(shipped: str, tmp_path: Path) -> None:
    first, *turns, votes, started, last = python("longthink_python", shipped, tmp_path).splitlines()
    assert first == last == ANSWER
    assert len(turns) == 15
    assert re.fullmatch(r"turn +\d+ tokens, \d+ left", turns[0])
    assert ANSWER in votes
    assert re.fullmatch(r"chatcmpl-\w+ (queued|in_progress|completed)", started)


def test_our_async_client(shipped: str, tmp_path: Path) -> None:
    rc, refined, stopped = python("longthink_async", shipped, tmp_path).splitlines()
    assert rc == f"{ANSWER} for 1957 tokens"
    assert refined.startswith(ANSWER)
    assert stopped == "cancelled"


def test_langchain(shipped: str, tmp_path: Path) -> None:
    if find_spec("langchain_openai") is None:
        pytest.skip("LangChain is missing: pip install langchain-openai")
    assert python("langchain_chat", shipped, tmp_path) == f"{ANSWER} for 1957 tokens\n{ANSWER}\n"


def test_litellm(shipped: str, tmp_path: Path) -> None:
    if not LITELLM.exists():
        pytest.skip("LiteLLM has an environment of its own: make test-litellm")
    told = run([str(LITELLM), str(EXAMPLES / "litellm_chat.py")], shipped, tmp_path)
    assert told == f"{ANSWER} for 1957 tokens\n"


def test_the_agents_sdk(shipped: str, tmp_path: Path) -> None:
    assert python("openai_agents", shipped, tmp_path) == f"{ANSWER}\n"


def test_every_example_is_run() -> None:
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".sh", ".mjs")}
    tested = Path(__file__).read_text(encoding="utf-8")
    assert {name for name in names if name.removesuffix(".py") not in tested and name not in tested} == set()
