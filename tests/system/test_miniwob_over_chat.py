"""MiniWoB++ in a real browser, end to end: chat completions with `tti`, the policy behind an upstream's API."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from decoders.core.messages import Prompt
from server.engines.scripted import ScriptedEngine
from tests.environments.miniwob_policies import POLICIES
from tests.server.conftest import serving
from tests.system.fleet import PATH, Replica

SIDE_BY_SIDE = 4
FIRST = re.compile(r"Task (\S+)\s+## Goal\n(.*?)\n+## What to do\n.*?## The environment shows\n(.*)", re.DOTALL)


def policy(prompt: Prompt, seed: int) -> str:
    """What a model that knows the task would say to these messages."""
    found = FIRST.search(prompt.messages[0].content)
    assert found
    name, goal, page = found.groups()
    done = [m.content.rpartition("Action: ")[2] for m in prompt.messages if m.role == "assistant"]
    newest = page if len(prompt.messages) == 1 else prompt.messages[-1].content
    return f"Thought: it is the next step.\nAction: {POLICIES[name](goal, newest, done)}"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, chromium: None) -> Iterator[str]:
    """A server whose environment is the browser, in front of the policy."""
    config = tmp_path_factory.mktemp("miniwob") / "longthink.toml"
    config.write_text(f'[environments.web]\nkind = "browser"\ntask = "miniwob"\nmax_concurrent = {SIDE_BY_SIDE}\n')
    with serving(base=ScriptedEngine(policy, model="base")) as upstream:
        replica = Replica(upstream.url, "memory", "--config", str(config))
        try:
            yield replica.url
        finally:
            replica.process.terminate()
            assert replica.process.wait(20) == 0
            replica.kill()


def solve(url: str, name: str) -> dict[str, Any]:
    body = {
        "model": "base",
        "messages": [{"role": "user", "content": f"Task {name}"}],
        "decoder": {"name": "tti", "max_steps": 24, "min_answers": 1},
        "environment": {"name": "web", "reset": {"task": name, "seed": 3}},
    }
    answer = httpx.post(f"{url}{PATH}", json=body, timeout=120)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["longthink"]["interaction"]
    return found


def test_the_tasks_are_solved(url: str) -> None:
    assert len(POLICIES) >= 20
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        found = dict(zip(POLICIES, pool.map(lambda name: solve(url, name), POLICIES), strict=True))
    assert {name: report["reward"] for name, report in found.items() if report["reward"] != 1.0} == {}
    assert {report["stopped"] for report in found.values()} <= {"env", "answer"}


def test_no_browser_is_left(url: str) -> None:
    running = [Path(f"/proc/{entry.name}/cmdline") for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    texts = [path.read_bytes() for path in running if path.exists()]
    assert not [text for text in texts if b"miniwob" in text and b"headless" in text]
