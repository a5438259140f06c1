"""A small world for agents: boxes, of which one holds a code. Deterministic in its reset arguments."""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from decoders.core.errors import InvalidRequest
from decoders.environments.base import Environment, Observation

OPEN = json.dumps(
    [
        {
            "type": "function",
            "function": {
                "name": "open",
                "parameters": {"type": "object", "properties": {"box": {"type": "integer"}}, "required": ["box"]},
            },
        }
    ]
)


class Boxes(Environment):
    """`open N` shows what is in a box, `answer CODE` ends the episode. `log` sees what is done to it."""

    def __init__(self, seed: int = 0, boxes: int = 5, *, tools: bool = False, log: list[str] | None = None) -> None:
        rng = random.Random(seed)
        self.code, self.place, self.boxes = f"k{rng.randrange(100)}", rng.randrange(1, boxes + 1), boxes
        self.tools, self.log = tools, [] if log is None else log
        self.over = False

    async def start(self) -> Observation:
        self.log.append("start")
        goal = f"Find the code in one of {self.boxes} boxes."
        return Observation("all boxes are closed", goal=goal, tools=OPEN if self.tools else "")

    async def step(self, action: str) -> Observation:
        self.log.append(action)
        assert not self.over, "the episode is over"
        if (given := self.answer(action)) is not None:
            self.over = True
            return Observation("done", reward=float(given == self.code), done=True)
        if self.tools:
            action = f"open {json.loads(action)['arguments'].get('box')}"
        match action.split():
            case ["open", number] if number.isdecimal() and 1 <= int(number) <= self.boxes:
                found = f"the code {self.code}" if int(number) == self.place else "nothing"
                return Observation(f"box {number} holds {found}", reward=0.0)
        return Observation("that cannot be done", error=True)

    def answer(self, action: str) -> str | None:
        verb, _, code = action.partition(" ")
        return code.strip() if verb == "answer" and code.strip() else None

    async def aclose(self) -> None:
        self.log.append("close")


def opener(world: Boxes) -> Callable[[], Awaitable[Environment]]:
    async def opened() -> Environment:
        return world

    return opened


class Warehouse:
    """The factory: every episode's log, by number."""

    def __init__(self, kind: type[Boxes] = Boxes, **fixed: Any) -> None:
        self.kind, self.fixed = kind, fixed
        self.logs: list[list[str]] = []

    async def __call__(self, reset: Mapping[str, Any]) -> Boxes:
        if unknown := set(reset) - {"seed", "boxes"}:
            raise InvalidRequest(f"environment.reset: unknown {sorted(unknown)[0]}", param="environment")
        self.logs.append([])
        return self.kind(**{**reset, **self.fixed}, log=self.logs[-1])

    @property
    def closed(self) -> bool:
        """Whether every episode was left."""
        return all(log[-1:] == ["close"] for log in self.logs)


__all__ = ["OPEN", "Boxes", "Warehouse", "opener"]
