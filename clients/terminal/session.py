"""A conversation: what was said, what is chosen, what the last run did.

Rule: a run that failed or was stopped is not part of the conversation, so its question can be asked again.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from openai import APIConnectionError, APIError, NotFoundError, OpenAIError
from rich.console import Console

from clients.client import LongThink
from clients.request import Budget
from clients.run import Run
from clients.terminal.showing import show
from clients.trace import Trace

Messages = list[dict[str, Any]]


class Session:
    """The state of `longthink chat`; `seed` and other `fields` go along with every question."""

    def __init__(self, client: LongThink, console: Console, **fields: Any) -> None:
        self.client, self.console, self.fields = client, console, fields
        self.messages: Messages = []
        self.model: str | None = None
        self.decoder: dict[str, Any] | None = None
        self.budget: Budget | None = None
        self.trace: Trace | None = None
        self.fresh = False
        """Whether every question begins a conversation of its own."""

    @cached_property
    def decoders(self) -> list[dict[str, Any]]:
        """What the server says of its decoders; empty where it is not one of ours."""
        try:
            return self.client.decoders()
        except APIConnectionError:
            raise
        except APIError:
            return []

    def run(self, question: str) -> Run:
        """Ask, with everything before it."""
        if self.fresh:
            self.messages = []
        asked = [*self.messages, {"role": "user", "content": question}]
        # a server of ours has a decoder even where none is chosen
        ours: dict[str, Any] = {"resume": True} if self.decoders else {}
        return self.client.solve(
            asked, decoder=self.decoder, budget=self.budget, model=self.model, **ours, **self.fields
        )  # fmt: skip

    def ask(self, question: str) -> None:
        """Ask and show; Ctrl-C stops the run. Raises `OpenAIError`."""
        run: Run | None = None
        try:
            run = self.run(question)
            show(self.console, run)
        except KeyboardInterrupt:
            if run is not None:
                run.close()
                self.trace = run.trace
            self.console.print("stopped", style="yellow")
            return
        self.trace = run.trace
        self.messages += [{"role": "user", "content": question}, {"role": "assistant", "content": run.text}]

    def questions(self) -> list[tuple[int, str]]:
        """What was asked so far, each with its place among the messages."""
        return [(place, m["content"]) for place, m in enumerate(self.messages) if m["role"] == "user"]

    def resume(self, trace: Trace) -> None:
        """Go on behind a trace, with what it had chosen."""
        self.trace, self.model = trace, trace.model or None
        self.decoder = {"name": trace.decoder} if isinstance(trace.decoder, str) else trace.decoder
        self.budget = trace.budget  # type: ignore[assignment]  # as it was given once
        self.messages = [*trace.messages, {"role": "assistant", "content": trace.text}]


def explain(error: OpenAIError, client: LongThink) -> str:
    """An error for a reader."""
    if isinstance(error, APIConnectionError):
        return f"no server answers at {client.base_url}: start one with `longthink serve`, or name one with --url"
    if isinstance(error, NotFoundError) and not client.base_url.path.rstrip("/"):
        return f"there is no API at {client.base_url}: the URL of one usually ends in /v1"
    if isinstance(error, APIError):
        body = error.body if isinstance(error.body, dict) else {}
        return str(body.get("message") or error.message)
    return str(error)
