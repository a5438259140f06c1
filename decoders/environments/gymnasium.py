"""Gymnasium environments in this process: their observations and actions must be text.

Rule: everything of an episode runs in one thread of its own, since some (browsers under Playwright) stand no other.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from importlib import import_module
from queue import SimpleQueue
from typing import Any, TypeVar

from decoders.core.errors import EnvironmentFailed
from decoders.environments.base import Observation
from decoders.environments.options import GymnasiumOptions, Scalar
from decoders.environments.wording import TEXT_KEYS, number

T = TypeVar("T")


class Lane:
    """A thread that does one thing after another, and that nobody has to wait for: a hung one holds up no exit."""

    def __init__(self, name: str) -> None:
        self._tasks: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def do(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """What `work` returns or raises in the thread, behind all that it was given before."""
        future: Future[T] = Future()
        self._tasks.put((future, work))
        return asyncio.wrap_future(future)

    def end(self) -> None:
        """No more work."""
        self._tasks.put(None)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, work = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)


class GymnasiumSource:
    """An id that is registered. Raises `ValueError` or `ImportError` where it is not."""

    def __init__(self, options: GymnasiumOptions) -> None:
        try:
            self._gymnasium = import_module("gymnasium")
        except ModuleNotFoundError as error:
            raise ValueError("gymnasium is not installed: pip install 'longthink[gymnasium]'") from error
        for module in options.imports:
            import_module(module)
        self._options = options
        try:
            self._gymnasium.spec(options.id)
        except self._gymnasium.error.Error as error:
            raise ValueError(f"id: {error}") from error

    def episode(self, reset: Mapping[str, Scalar]) -> GymnasiumEpisode:
        """An episode with an environment of its own."""
        return GymnasiumEpisode(lambda: self._gymnasium.make(self._options.id, **self._options.options), reset)

    async def aclose(self) -> None:
        """Nothing is shared."""


class GymnasiumEpisode:
    """One environment, from `reset` to `close`."""

    def __init__(self, make: Callable[[], Any], reset: Mapping[str, Scalar]) -> None:
        self._make, self._reset = make, dict(reset)
        self._lane: Lane | None = None
        self._env: Any = None

    async def start(self) -> Observation:
        """Make and reset; `seed` is Gymnasium's, everything else its `options`."""
        self._lane = Lane("gymnasium")
        observation, info = await self._lane.do(self._begin)
        return Observation(_text(observation), goal=_goal(observation) or _goal(info))

    async def step(self, action: str) -> Observation:
        """One step; what the space of actions does not contain is not carried out."""
        assert self._lane is not None
        if not self._env.action_space.contains(action):
            return Observation(f"not an action here: {self._env.action_space}", error=True)
        observation, reward, terminated, truncated, _ = await self._lane.do(lambda: self._env.step(action))
        wrong = observation.get("last_action_error") if isinstance(observation, Mapping) else None
        text = _text(observation)
        done = bool(terminated or truncated)
        trouble = str(wrong) if wrong else ""
        return Observation(f"{trouble}\n{text}" if trouble else text, number(float(reward)), done, bool(trouble))

    def answer(self, action: str) -> str | None:
        """Nothing: Gymnasium does not tell which actions end an episode; the configuration may."""
        return None

    async def aclose(self) -> None:
        """Close the environment in its thread."""
        if self._lane is not None:
            lane, self._lane = self._lane, None
            closing = lane.do(self._end)
            lane.end()
            await closing

    def _begin(self) -> tuple[Any, Any]:
        self._env = self._make()
        space = self._env.action_space
        if type(space).__name__ not in ("Text", "Unicode"):
            raise EnvironmentFailed(f"its actions are not text but {space}")
        seed = self._reset.pop("seed", None)
        begun: tuple[Any, Any] = self._env.reset(seed=seed, options=self._reset or None)
        return begun

    def _end(self) -> None:
        if self._env is not None:
            self._env.close()


def _text(observation: Any) -> str:
    if isinstance(observation, str):
        return observation
    if isinstance(observation, Mapping):
        for key in TEXT_KEYS:
            if isinstance(found := observation.get(key), str):
                return found
    kinds = ", ".join(TEXT_KEYS)
    raise EnvironmentFailed(f"its observations are neither text nor have one of {kinds}: {type(observation).__name__}")


def _goal(told: Any) -> str:
    goal = told.get("goal") if isinstance(told, Mapping) else None
    return goal if isinstance(goal, str) else ""
