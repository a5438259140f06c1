"""Engines under test, opened as the server opens them, and what transformers makes of the same checkpoint."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

from decoders.core.engine import Chunk, Engine
from decoders.core.messages import Message, Prompt, Sampling, ToolCall
from server.engines import open_engines
from server.settings import load

HAS_VLLM = find_spec("vllm") is not None
KINDS = ["onnx", "torch", "vllm", "upstream-longthink", "upstream-vllm"]
QUESTIONS = ["use 3 4 to make 7", "use 9 8 5 2 to make 31", "use 20 6 4 to make 50"]
SMALL = {
    "enforce-eager": True,
    "kv-cache-memory-bytes": str(64 << 20),
    "max-num-seqs": "16",
    "dtype": "float32",
    "block-size": "32",
}
"""A vLLM that starts quickly and lives beside others on a small machine."""


@dataclass
class Subject:
    """An engine under test with the checkpoint it serves; `kill` ends what computes, as a crash would."""

    kind: str
    engine: Engine
    folder: Path
    kill: Callable[[], None] = lambda: None
    others: dict[str, Engine] = field(default_factory=dict)

    def needs(self, *features: str) -> None:
        """Skip the test where the engine cannot do what it is about."""
        missing = [name for name in features if name not in self.engine.features]
        if missing:
            pytest.skip(f"this engine has no {' and no '.join(missing)}")

    def needs_grammar(self) -> None:
        """Skip the test where a structure is checked and not forced: random weights never keep one."""
        self.needs("structure")
        if self.kind == "upstream-longthink":
            pytest.skip("the engine behind this server does not force a structure")


@dataclass
class Result:
    """One completion, put together from its chunks."""

    text: str = ""
    reasoning: str = ""
    ids: list[int] = field(default_factory=list)
    tokens: int = 0
    reasoning_tokens: int | None = None
    finish: str | None = None
    prompt_tokens: int = 0
    cached: int = 0
    calls: tuple[ToolCall, ...] = ()
    chunks: list[Chunk] = field(default_factory=list)

    @property
    def said(self) -> list[int] | list[str]:
        """What must be equal: ids where the engine tells them, else the words."""
        return self.ids or self.words

    @property
    def words(self) -> list[str]:
        """Everything that was said, the same whether the engine separates thinking from the answer or not."""
        return words(f"{self.reasoning} {self.text}")


def words(text: str) -> list[str]:
    """The words of a completion without the marks of its thinking block."""
    return [word for word in text.split() if word not in ("<think>", "</think>")]


def chat(question: str, prefix: str = "") -> Prompt:
    return Prompt((Message("user", question),), prefix)


async def collect(engine: Engine, prompt: Prompt, sampling: Sampling) -> list[Result]:
    results = [Result() for _ in range(sampling.n)]
    async with aclosing(engine.generate(prompt, sampling)) as chunks:
        async for chunk in chunks:
            result = results[chunk.index]
            assert result.finish is None, "nothing follows the last chunk"
            result.text += chunk.text
            result.reasoning += chunk.reasoning
            result.ids += chunk.token_ids
            result.tokens += chunk.size
            result.finish = chunk.finish
            result.prompt_tokens = chunk.prompt_tokens or result.prompt_tokens
            result.cached = chunk.cached_tokens or result.cached
            result.calls += chunk.tool_calls
            result.reasoning_tokens = chunk.reasoning_tokens
            result.chunks.append(chunk)
    return results


@contextmanager
def opened(kind: str, folder: Path, run: Runner, **vllm: Any) -> Iterator[Subject]:
    """The engine of this kind over a checkpoint."""
    if "vllm" in kind and not HAS_VLLM:
        pytest.skip("vLLM is not installed here: `make test-vllm` installs it and runs these tests")
    with contextlib.ExitStack() as stack:
        server = None
        if kind.startswith("upstream"):
            server, url = stack.enter_context(_server(kind, folder))
            words = ["--upstream", url, "--model", "tiny"]
        elif kind == "vllm":
            words = ["--engine", "vllm", "--model", str(folder)]
            for name, value in {**SMALL, **vllm}.items():
                words += [f"--vllm.{name}"] if value is True else [f"--vllm.{name}={value}"]
        else:
            words = ["--model", str(folder), "--embedded.backend", kind, "--embedded.threads", "1"]
        engines = dict(run(open_engines(load(words, environment={}))))
        first = engines.pop(next(iter(engines)))
        try:
            yield Subject(kind, first, folder, _killer(kind, first, server), engines)
        finally:
            for engine in (first, *engines.values()):
                run(engine.aclose())


Runner = Callable[[Awaitable[Any]], Any]


@contextmanager
def _server(kind: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A real server in a process of its own, and its base URL; the model is called `tiny`."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    if kind == "upstream-vllm":
        command = ["vllm.entrypoints.openai.api_server", "--model", str(folder), "--served-model-name", "tiny"]
        for name, value in {**SMALL, "logprobs-mode": "raw_logprobs", "no-enable-chunked-prefill": True}.items():
            command += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    else:
        command = ["server", "serve", "--model", str(folder), "--served-name", "tiny", "--embedded.threads", "1"]
        command += ["--pack", "plain"]  # which asks as it is asked
    quiet = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", *command, "--port", str(port)],
        text=True,
        env={**os.environ, **quiet},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(lambda: _answers(process, f"http://127.0.0.1:{port}/health"), 180)
        yield process, f"http://127.0.0.1:{port}/v1"
    finally:
        _end(process)


def _answers(process: subprocess.Popen[str], url: str) -> bool:
    assert process.poll() is None, "the server ended while it started"
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, timeout=5).status_code == 200
    return False


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _killer(kind: str, engine: Any, server: subprocess.Popen[str] | None) -> Callable[[], None]:
    if server is not None:
        return lambda: _end(server)
    if kind == "vllm":
        (process,) = engine._core.llm.engine_core.resources.engine_manager.processes
        return lambda: os.kill(process.pid, signal.SIGKILL)

    def break_backend() -> None:
        engine._scheduler._backend = None

    return break_backend


def until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait for what another process does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """The same without holding the event loop."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - another process or thread changes it
            await asyncio.sleep(0.005)


@lru_cache(maxsize=4)
def tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@lru_cache(maxsize=4)
def network(folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    net: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return net


def prompt_ids(folder: Path, question: str) -> list[int]:
    messages = [{"role": "user", "content": question}]
    text = tokenizer(folder).apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    found: list[int] = tokenizer(folder)(text, add_special_tokens=False)["input_ids"]
    return found


def greedy(net: Any, ids: Sequence[int], new: int) -> list[int]:
    """What `generate` of transformers says, the end mark included."""
    import torch

    prompt = torch.tensor([list(ids)])
    out = net.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=new, do_sample=False, temperature=None
    )
    found: list[int] = out[0, len(ids) :].tolist()
    return found
