"""Every decoder over a server that knows nothing but chat completions: it answers, or says in a 400 what it needs."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import httpx
import pytest

from decoders import registry

QUESTION = "How many legs have two cats and three birds?"
WANTED = {
    "Verdict: correct": "I counted again.\nVerdict: correct",
    "Score: s": "Step 1: sound. Counted again\nScore: 0.5",
    "Better: 1": "Both are right. Better: 1",
}
"""What a prompt asks for, and a reply in that form."""


def scripted(messages: list[dict[str, Any]], seed: int) -> str:
    """An instruct model's reply: to judges' prompts in their form, else an answer, right in three of four cases."""
    asked = str(messages[-1]["content"])
    for form, reply in WANTED.items():
        if form in asked:
            return reply
    number = hashlib.sha256(f"{seed}{asked}".encode()).digest()[0]
    return f"Cats have four legs, birds two.\n\nThat makes \\boxed{{{14 if number % 4 else 10}}}"


class ChatOnly(BaseHTTPRequestHandler):
    """Streams of /v1/chat/completions and the list of models; anything else is not there."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[Counter[str]] = Counter()

    def do_GET(self) -> None:
        """The models."""
        self._count()
        data = [{"id": "chat-model", "object": "model", "owned_by": "nobody"}]
        self._whole(200, {"object": "list", "data": data}) if self.path == "/v1/models" else self._missing()

    def do_POST(self) -> None:
        """One completion, word by word."""
        self._count()
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path != "/v1/chat/completions" or not body.get("stream"):
            self._missing()
            return
        words = re.findall(r"\s*\S+", scripted(body["messages"], body.get("seed") or 0))
        limit = min(len(words), body.get("max_completion_tokens") or len(words))
        choices: list[dict[str, Any]] = [
            {"index": 0, "delta": {"content": word}, "logprobs": _certain(word, body), "finish_reason": None}
            for word in words[:limit]
        ]
        choices.append({"index": 0, "delta": {}, "finish_reason": "stop" if limit == len(words) else "length"})
        usage = {"prompt_tokens": 9, "completion_tokens": limit, "total_tokens": 9 + limit}
        events: list[dict[str, Any]] = [{"choices": [choice]} for choice in choices]
        events.append({"choices": [], "usage": usage})
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        head = {"id": "c1", "object": "chat.completion.chunk", "created": 0, "model": "chat-model"}
        self.wfile.write(b"".join(f"data: {json.dumps({**head, **event})}\n\n".encode() for event in events))
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def _count(self) -> None:
        self.asked[f"{self.command} {self.path}"] += 1

    def _missing(self) -> None:
        self._whole(404, {"error": {"message": "there is only chat here", "type": "invalid_request_error"}})

    def _whole(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _certain(word: str, body: dict[str, Any]) -> dict[str, Any] | None:
    """Log-probabilities where they are asked for: the word is certain, its rivals are not."""
    if not body.get("logprobs"):
        return None
    rivals = [{"token": f"{word}{i}", "logprob": -9.0 - i, "bytes": None} for i in range(body["top_logprobs"])]
    return {"content": [{"token": word, "logprob": -0.01, "bytes": None, "top_logprobs": rivals}]}


class Upstream(ThreadingHTTPServer):
    """Takes as many calls at once as a decoder makes."""

    daemon_threads = True
    request_queue_size = 256


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with Upstream(("127.0.0.1", 0), ChatOnly) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join(10)


@pytest.fixture(scope="module")
def url(upstream: str) -> Iterator[str]:
    """`longthink serve --upstream`, on a free port."""
    host = json.dumps({"url": upstream, "dialect": "openai"})
    command = [sys.executable, "-m", "server", "serve", "--port", "0", "--upstream", host]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line + process.stdout.read()
        yield found.group()
        process.terminate()
        process.communicate(timeout=30)


def ask(url: str, **fields: Any) -> httpx.Response:
    body = {"model": "chat-model", "messages": [{"role": "user", "content": QUESTION}], "seed": 1, **fields}
    return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)


@pytest.mark.parametrize("name", sorted(registry()))
def test_a_decoder_answers_over_chat_or_says_what_it_needs(url: str, name: str) -> None:
    before = ChatOnly.asked.copy()
    reply = ask(url, decoder=name)
    made = ChatOnly.asked - before
    if reply.status_code == 400:
        error = reply.json()["error"]
        assert (error["code"], error["param"]) == ("decoder_not_supported", "decoder")
        assert name in error["message"] or "prompt" in error["message"]
        assert not made["POST /v1/chat/completions"]
        return
    assert reply.status_code == 200, reply.text
    said = reply.json()
    assert said["choices"][0]["message"]["content"].endswith(("\\boxed{14}", "\\boxed{10}"))
    assert said["choices"][0]["finish_reason"] == "stop"
    assert said["longthink"]["steps"] == made["POST /v1/chat/completions"] > 0
    assert set(made) <= {"POST /v1/chat/completions", "GET /v1/models", "GET /health"}


def test_decoders_that_need_no_more_than_chat_are_most_of_them(url: str) -> None:
    entries = httpx.get(f"{url}/v1/decoders", timeout=20).json()["data"]
    assert {entry["id"] for entry in entries} == set(registry())
    assert sum(not entry["needs"] for entry in entries) * 2 > len(entries)
