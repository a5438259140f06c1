"""Runs that a store has kept, for those who learn from them. Rule: whether a caller has allowed it is told with each.

A request says so with `allow_training`; where it says nothing, its API key does; without a key nobody has.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from decoders.core.trace import Step
from server.api.durable import PREFIXES, Order
from server.api.responses_wire import ResponsesRequest
from server.api.wire import ChatRequest
from server.service import Ask
from server.settings import Settings
from server.store import open_store
from server.store.base import Store, Stored
from server.worker import History


@dataclass(frozen=True, slots=True)
class KeptRun:
    """One choice of a run that has ended, with its finished steps in the order of the decoder's program."""

    id: str
    allowed: bool
    """Whether it may be learned from."""
    question: str
    """What was asked; empty where it was asked in the middle of a conversation."""
    decoder: dict[str, Any]
    steps: Sequence[Step]


def open_kept(url: str, prefix: str) -> Store:
    """A store that a server has written to. Raises `ValueError` where there is none."""
    scheme, _, rest = url.partition(":")
    if scheme == "memory":
        raise ValueError("store: what is kept in memory ends with its process: serve with sqlite or redis")
    if scheme == "sqlite" and not Path(rest.removeprefix("//")).is_file():
        raise ValueError(f"store: there is no file {rest.removeprefix('//')}")
    return open_store(Settings(store=url, redis_prefix=prefix))


async def finished(store: Store) -> AsyncGenerator[KeptRun, None]:
    """Every run that is done and was kept with its steps, choice by choice."""
    for id in await store.ids():
        stored = await store.get(id)
        if stored is None or not stored.done or not stored.order or not id.startswith(tuple(PREFIXES.values())):
            continue
        order, history = Order.load(stored), await History.read(store, id)
        decoder = next((entry.facts.decoder for entry in history.entries if entry.facts), {})
        for records in history.steps.values():
            steps = sorted((step for step in records if isinstance(step, Step)), key=_place)
            yield KeptRun(id, allowed(order), _question(stored, order), decoder, steps)


def allowed(order: Order) -> bool:
    """Whether what came of a request may be learned from."""
    said = order.request.get("allow_training")
    return bool(order.caller.get("terms", {}).get("allow_training")) if said is None else said is True


def _question(stored: Stored, order: Order) -> str:
    messages = [message for message in _ask(stored, order).messages if message.role not in ("system", "developer")]
    return messages[0].content if [message.role for message in messages] == ["user"] else ""


def _ask(stored: Stored, order: Order) -> Ask:
    if stored.id.startswith(PREFIXES["/v1/responses"]):
        items = [list(map(orjson.loads, kept)) for kept in (stored.context, stored.input)]
        return ResponsesRequest.parse(order.request).ask(*items)
    return ChatRequest.parse(order.request).ask()


def _place(step: Step) -> tuple[int, ...]:
    return tuple(int(part) for part in step.key.partition("~")[0].split("."))
