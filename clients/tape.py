"""What a run's chunks add up to: events, progress, usage, trace. Rule: nothing here waits, for sync or async."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal

from openai import APIError
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from clients.decoders import Decoder
from clients.events import Event, Finished, events
from clients.progress import Progress
from clients.request import Budget
from clients.trace import Trace

Status = Literal["queued", "in_progress", "completed", "failed", "cancelled"]


class Unfinished(RuntimeError):
    """The answer of a run was asked for before its end."""


class Tape:
    """Records a run; one that is `kept` can be asked for by its id, one that is `owned` ends when its reader leaves."""

    def __init__(
        self,
        *,
        id: str = "",
        model: str = "",
        messages: list[dict[str, Any]] | None = None,
        decoder: Decoder | None = None,
        budget: Budget | None = None,
        kept: bool = True,
        owned: bool = False,
    ) -> None:
        self.id, self.kept, self.owned = id, kept, owned
        self.status: Status = "queued" if id else "in_progress"
        self.progress = Progress(budget=budget if isinstance(budget, int) else None)
        self.events: list[tuple[float, Event]] = []
        self._usage: CompletionUsage | None = None
        self._longthink: Mapping[str, Any] = {}
        self._answer: str | None = None
        choice = decoder if decoder is None or isinstance(decoder, str) else dict(decoder)
        self._asked: dict[str, Any] = {
            "model": model, "messages": messages or [], "decoder": choice, "budget": budget
        }  # fmt: skip
        self._began = time.monotonic()

    def record(self, chunk: ChatCompletionChunk) -> None:
        """One more chunk."""
        self.id, self.status = chunk.id or self.id, "in_progress"
        self._asked["model"] = self._asked["model"] or chunk.model
        self._usage = chunk.usage or self._usage
        mark = (chunk.model_extra or {}).get("longthink") or {}
        if "by_role" in mark:
            self._longthink = mark
            self.progress.close(mark["budget"]["tokens"], mark["budget"]["spent"])
        at = round(time.monotonic() - self._began, 4)
        for event in events(chunk):
            self.progress.tell(event)
            self.events.append((at, event))

    def end(self, error: APIError | None = None) -> None:
        """The stream has ended, with an error or without."""
        if error is not None:
            self.status = "cancelled" if error.code == "response_cancelled" else "failed"
        elif self.progress.finish is None:
            self.status = "cancelled"  # whoever closes a stream has its run stopped
        else:
            self.status = "completed"
            if self._usage is not None and not self._longthink:
                self.progress.close(None, self._usage.completion_tokens)

    @property
    def unsettled(self) -> bool:
        """Whether the server knows more than its stream has told: the usage, and the answer that the run settled for.

        The stream of a run whose decoder in the end preferred another answer has both of them.
        """
        return self.kept and self.status == "completed" and self._answer is None

    def settle(self, found: ChatCompletion) -> None:
        """The completion as the server keeps it."""
        self._answer = found.choices[0].message.content or "" if found.choices else self.progress.text
        self._usage = found.usage or self._usage

    @property
    def over(self) -> bool:
        """Whether nothing will come any more."""
        return self.status in ("completed", "failed", "cancelled")

    @property
    def text(self) -> str:
        """The answer. Raises `Unfinished` before there is one."""
        if self.status != "completed":
            raise Unfinished(f"the run is {self.status.replace('_', ' ')}: it has no answer")
        return self.progress.text if self._answer is None else self._answer

    @property
    def usage(self) -> CompletionUsage:
        """Exact counts. Raises `Unfinished` before they are known."""
        if self._usage is None:
            raise Unfinished(f"the run is {self.status.replace('_', ' ')}: its usage is not known")
        return self._usage

    @property
    def finish(self) -> str | None:
        """Why it ended: `stop`, or `length` where a limit ended it."""
        return next((event.finish for _, event in reversed(self.events) if isinstance(event, Finished)), None)

    def trace(self) -> Trace:
        """The record, as far as it goes."""
        return Trace(
            id=self.id,
            events=self.events,
            answer=self._answer,
            usage=self._usage,
            longthink=self._longthink,
            **self._asked,
        )
