"""A small OpenAI endpoint on a real socket, in a thread of its own, that solves what it is told to solve."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from benchmarks.tasks.countdown import Problem
from training.teachers.countdown import solutions


def solve(question: str) -> str:
    """The steps that answer `Use 5 3 2 to make 4`."""
    *numbers, target = map(int, re.findall(r"\d+", question))
    path = solutions(Problem(tuple(numbers), target))[0][1]
    return ", ".join(f"{s.a} {s.operator} {s.b} = {s.result}" for s in path)


@dataclass
class FakeEndpoint:
    """More turns solve more problems and cost more tokens; `fail` may answer a request with a status instead."""

    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    connections: int = 0
    fail: Callable[[int, dict[str, Any]], tuple[int, dict[str, str], str] | None] = lambda number, body: None
    chunked: bool = True
    words: int = 4
    delay: float = 0.0
    """Seconds before an answer."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        decoder = body.get("decoder") or {}
        effort = decoder.get("turns") or decoder.get("n") or 1
        luck = hashlib.sha256(f"{body.get('seed')}".encode()).digest()[0] / 256
        kind = "right" if luck < 1 - 0.8**effort else "wrong" if luck > 0.97 else "none"
        question = body["messages"][-1]["content"]
        answer = {"right": solve(question), "wrong": "1 + 1 = 3", "none": None}[kind]
        return {
            "object": "chat.completion",
            "choices": [
                {
                    "message": {"role": "assistant", "content": answer},
                    "finish_reason": "stop" if kind != "none" else "length",
                }
            ],
            "usage": {
                "prompt_tokens": 9,
                "completion_tokens": 100 * effort + (body.get("seed") or 0) % 7,
                "completion_tokens_details": {"reasoning_tokens": 90 * effort},
            },
            "longthink": {"by_role": {"reason": 90 * effort}},
        }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        super().setup()
        with self.server.fake.lock:
            self.server.fake.connections += 1

    def do_POST(self) -> None:
        fake = self.server.fake
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with fake.lock:
            fake.requests.append(body)
            fake.headers.append({name.lower(): text for name, text in self.headers.items()})
            number = len(fake.requests)
        time.sleep(fake.delay)
        failure = fake.fail(number, body)
        if failure:
            status, headers, text = failure
            if status == 0:
                self.close_connection = True
                return
            self._send(status, text.encode(), headers)
        elif body.get("stream"):
            self._stream(fake)
        else:
            self._send(200, json.dumps(fake.completion(body)).encode(), {"content-type": "application/json"})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, fake: FakeEndpoint) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked") if fake.chunked else self.send_header("connection", "close")
        self.end_headers()
        deltas = [{"role": "assistant"}, {"reasoning": "hm"}, *[{"content": "w "}] * (fake.words - 1)]
        events = [json.dumps({"choices": [{"delta": delta}]}) for delta in deltas]
        events += [json.dumps({"choices": [], "usage": {"completion_tokens": fake.words}}), "[DONE]"]
        for event in events:
            data = f"data: {event}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if fake.chunked else data)
            time.sleep(0.002)
        if fake.chunked:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    fake: FakeEndpoint


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    server = Server(("127.0.0.1", 0), Handler)
    server.fake = FakeEndpoint(url=f"http://127.0.0.1:{server.server_address[1]}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
