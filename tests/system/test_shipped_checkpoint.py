"""What a newcomer gets: `longthink serve` with nothing else, the shipped checkpoint, the official client."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from openai import BadRequestError, OpenAI
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.tasks.countdown import Problem, problems
from decoders.core.messages import Message, Prompt, Sampling
from decoders.prompts import Pack
from server.engines.embedded import EmbeddedEngine
from server.model_options import SHIPPED


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server as `make serve` starts it, on a free port."""
    command = [sys.executable, "-m", "server", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line + process.stdout.read()
        yield found.group()
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as made:
        yield made


def solved(client: OpenAI, decoder: str, count: int) -> int:
    """How many of the first hard dev problems the decoder solves."""

    def right(problem: Problem) -> bool:
        reply = client.chat.completions.create(
            model=f"longthink-tiny:{decoder}", messages=[{"role": "user", "content": problem.question}], seed=1
        )
        return problem.check(reply.choices[0].message.content or "")

    with ThreadPoolExecutor(count) as pool:
        return sum(pool.map(right, problems("hard", "dev", count)))


def test_rc_solves_hard_problems_that_plain_decoding_cannot(client: OpenAI) -> None:
    assert solved(client, "direct", 20) <= 8
    assert solved(client, "rc", 20) >= 13


def test_an_ordinary_sentence_streams_an_answer_that_states_its_steps(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="longthink-tiny",
        messages=[{"role": "user", "content": "Please use 5, 8 and 9 to make 22?"}],
        extra_body={"decoder": {"name": "rc", "turns": 4}},
        seed=3,
        stream=True,
        stream_options={"include_usage": True},
    )
    content, reasoning, usage = "", "", None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            content += choice.delta.content or ""
            reasoning += getattr(choice.delta, "reasoning", None) or ""
    assert re.fullmatch(r"(\d+ [-+*] \d+ = \d+(, )?)+", content)
    assert "try" in reasoning
    assert usage is not None
    assert usage.completion_tokens_details is not None
    assert 0 < (usage.completion_tokens_details.reasoning_tokens or 0) < usage.completion_tokens


def test_a_question_it_cannot_know_gets_a_message_that_says_what_to_do(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match=r"only plays Countdown.*--model.*--upstream"):
        client.chat.completions.create(
            model="longthink-tiny", messages=[{"role": "user", "content": "What is the capital of France?"}]
        )


def test_a_client_that_leaves_frees_the_engine(url: str) -> None:
    body = {
        "model": "longthink-tiny:rc",
        "messages": [{"role": "user", "content": "Use 1 1 1 1 to make 60"}],
        "max_completion_tokens": 30_000,
        "decoder": {"turns": 1000},
        "stream": True,
    }
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
        next(response.iter_lines())
    pattern = r'^longthink:cancelled_total\{decoder="rc",model="longthink-tiny"\} ([\d.]+)$'
    for _ in range(50):
        found = re.search(pattern, httpx.get(f"{url}/metrics").text, re.MULTILINE)
        if found and float(found.group(1)) >= 1:
            return
        time.sleep(0.1)
    pytest.fail("the run went on")


def test_transformers_loads_the_folder_unchanged_and_continues_greedily_as_the_engine_does() -> None:
    words = AutoTokenizer.from_pretrained(SHIPPED)
    net = AutoModelForCausalLM.from_pretrained(SHIPPED).eval()
    pack = Pack.load("tiny")

    async def ours(messages: tuple[Message, ...]) -> list[int]:
        engine = EmbeddedEngine(SHIPPED)
        try:
            stream = engine.generate(Prompt(messages), Sampling(max_tokens=100, temperature=0.0))
            return [id async for chunk in stream for id in chunk.token_ids]
        finally:
            await engine.aclose()

    for problem in problems("medium", "dev", 3):
        messages = pack.render("reason", problem.question, summary="")
        chat = [{"role": m.role, "content": m.content} for m in messages]
        ids = words.apply_chat_template(chat, add_generation_prompt=True, return_dict=True, return_tensors="pt")
        out = net.generate(**ids, max_new_tokens=100, do_sample=False, temperature=None)
        assert asyncio.run(ours(messages)) == out[0, ids["input_ids"].shape[1] :].tolist()


def test_the_folder_is_small_and_says_how_it_was_made() -> None:
    assert sum(f.stat().st_size for f in SHIPPED.iterdir()) < 12_000_000
    card = (SHIPPED / "README.md").read_text()
    assert "longthink train sft --set seed=" in card
    assert json.loads((SHIPPED / "longthink.json").read_text())["pack"] == "tiny"
    assert (SHIPPED / "model.safetensors").is_file()
    assert Path(SHIPPED).name == "longthink-tiny"
