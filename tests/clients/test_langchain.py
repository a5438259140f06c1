"""LangChain's standard integration tests for chat models pass against the server, whichever decoder answers.

They ask what no small model can say (jokes as JSON, calls of given tools), so the scripted engine says it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from decoders.core.messages import Prompt
from server.engines.scripted import ScriptedEngine
from tests.server.conftest import Live, serving

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-harness" / "bin" / "python"
SUITE = Path(__file__).with_name("langchain_standard.py")
JOKE = {"setup": "Why do cats like keyboards?", "punchline": "For the mouse."}
ARGUMENTS = {
    "magic_function": {"input": 3},
    "greeting_generator": {"answer_style": "pirate"},
    "my_adder_tool": {"a": 3, "b": 4},
    "get_weather": {"location": "San Francisco"},
    "Joke": JOKE,
}


def reply(prompt: Prompt, seed: int) -> str:
    """What a capable model would say to the suite."""
    last = prompt.messages[-1]
    if prompt.tools and last.role == "user":
        return f"<think>a tool</think><tool_call>{json.dumps(call(prompt))}</tool_call>"
    told = "\n".join(message.content for message in prompt.messages)
    return f"<think>a word</think>{json.dumps(JOKE) if 'punchline' in told else f'I was told: {last.content[:40]}'}"


def call(prompt: Prompt) -> dict[str, object]:
    """A call of the tool that was asked for, or of the first one."""
    offered = [tool["function"]["name"] for tool in json.loads(prompt.tools)]
    wanted = next((name for name in offered if f'"{name}"' in prompt.tool_choice), offered[0])
    quoted = re.search("'([^']+)'", prompt.messages[-1].content)
    customer = {"customer_name": quoted[1], "description": "a company"} if quoted else {}
    return {"name": wanted, "arguments": customer if wanted == "unicode_customer" else ARGUMENTS.get(wanted, {})}


@pytest.fixture(scope="module")
def capable() -> Iterator[Live]:
    with serving(base=ScriptedEngine(reply, model="base")) as running:
        yield running


def test_the_standard_tests_of_chat_models(capable: Live, tmp_path: Path) -> None:
    if not PYTHON.exists():
        pytest.skip("langchain-tests is in an environment of its own: make test-harnesses")
    scopes = [f"asyncio_default_{what}_loop_scope=session" for what in ("fixture", "test")]
    settings = [word for setting in ("asyncio_mode=auto", *scopes) for word in ("-o", setting)]
    options = ["-q", "-rfE", "--noconftest", "-p", "no:cacheprovider", "-c", os.devnull, *settings]
    done = subprocess.run(
        [str(PYTHON), "-m", "pytest", *options, str(SUITE)],
        cwd=tmp_path,
        env={**os.environ, "LONGTHINK_BASE_URL": f"{capable.url}/v1", "LANGSMITH_TRACING": "false"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None, done.stdout
    assert int(passed[1]) >= 3 * 43, done.stdout
