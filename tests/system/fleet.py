"""Replicas as processes over one Redis, an upstream that counts what it is asked, and readers that come back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from decoders.core.messages import Prompt
from tests.server.conftest import HELLO

ROOT = Path(__file__).parents[2]
QUIET = {k: v for k, v in os.environ.items() if not k.startswith("LONGTHINK_")}
PATH = "/v1/chat/completions"
LEASE_SECONDS = 0.6
TURNS = 32
STEPS = 2 * TURNS - 1


def speak(prompt: Prompt, seed: int) -> str:
    """Depends on the prompt and the seed, so that a step that was lost or doubled changes all that follows."""
    said = sum(len(message.content) * (i + 1) for i, message in enumerate(prompt.messages))
    words = " ".join(f"{(said * 7 + seed + i) % 1000}" for i in range(20))
    return f"<think>{words}</think>So \\boxed{{{(said + seed) % 100}}}"


class Replica:
    """One `longthink serve` in front of the upstream."""

    def __init__(self, upstream: str, store: str, *more: str) -> None:
        options = ["--upstream", f"{upstream}/v1", "--store", store, "--lease-seconds", str(LEASE_SECONDS), *more]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "server", "serve", "--port", "0", *options],
            cwd=ROOT,
            env=QUIET,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    @property
    def url(self) -> str:
        """Where it listens, once it does."""
        if not hasattr(self, "_url"):
            assert self.process.stdout is not None
            found = re.search(r"http://127\.0\.0\.1:\d+", self.process.stdout.readline())
            assert found
            self._url = found[0]
        return self._url

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def request(seed: int, **fields: Any) -> dict[str, Any]:
    decoder = {"name": "rc", "turns": TURNS}
    return {"model": "base", "messages": HELLO, "decoder": decoder, "seed": seed, "stream": True, **fields}


class Reader:
    """A client that reads a background stream, and comes back to it wherever it is told to."""

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self.id = ""

    @property
    def done(self) -> bool:
        return bool(self.events) and self.events[-1].endswith(b"data: [DONE]")

    def begin(self, url: str, body: dict[str, Any], most: float) -> None:
        """Read for at most so many seconds, or until the connection breaks."""
        with httpx.stream("POST", f"{url}{PATH}", json=body, timeout=30) as response:
            assert response.status_code == 200, response.read()
            self._read(response, most)

    def resume(self, url: str, most: float = 30) -> None:
        headers = {"last-event-id": str(len(self.events) - 1)} if self.events else {}
        with httpx.stream("GET", f"{url}{PATH}/{self.id}?stream=true", headers=headers, timeout=30) as response:
            assert response.status_code == 200, response.read()
            self._read(response, most)

    def _read(self, response: httpx.Response, most: float) -> None:
        end, held = time.monotonic() + most, b""
        try:
            for piece in response.iter_raw():
                *events, held = (held + piece).split(b"\n\n")
                self.events += [event for event in events if event.startswith(b"id: ")]
                if self.events and not self.id:
                    self.id = json.loads(self.events[0].partition(b"data: ")[2])["id"]
                if time.monotonic() > end:
                    return
        except httpx.HTTPError:
            return

    def text(self) -> dict[str, str]:
        return said([event.partition(b"data: ")[2] for event in self.events])


def said(events: list[bytes]) -> dict[str, str]:
    """All text of a stream, by channel."""
    texts = {"reasoning": "", "content": ""}
    for event in events:
        for choice in json.loads(event)["choices"] if event.startswith(b"{") else ():
            for channel in texts:
                texts[channel] += choice["delta"].get(channel) or ""
    return texts


def undisturbed(url: str, seed: int) -> dict[str, str]:
    answer = httpx.post(f"{url}{PATH}", json=request(seed), timeout=60)
    return said([line.removeprefix(b"data: ") for line in answer.content.split(b"\n\n")])
