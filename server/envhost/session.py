"""Environments by id, and one client's environment. Rule: an environment is used in one thread only, its own."""

from __future__ import annotations

import asyncio
import fnmatch
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

from server.envhost.conversion import Refused, schema_of, sendable, shaped

_CLOSING_SECONDS = 10.0


class Gym:
    """The environments that may be asked for. `ValueError` where there are none."""

    def __init__(self, patterns: Sequence[str], imports: Sequence[str], options: dict[str, Any]) -> None:
        self._gymnasium = import_module("gymnasium")
        for module in imports:
            import_module(module)
        registered = list(self._gymnasium.registry)
        self.ids: list[str] = [name for pattern in patterns for name in fnmatch.filter(registered, pattern)]
        if not self.ids:
            raise ValueError(f"no registered environment matches {', '.join(patterns)}: is an --import missing?")
        self._options = options

    def chosen(self, task: object) -> str:
        """The id of a task: the first without one, a whole id, or the one id that ends so."""
        if task is None:
            return self.ids[0]
        named = str(task)
        ending: list[str] = [name for name in self.ids if name == named or name.endswith((f".{named}", f"/{named}"))]
        if len(ending) != 1:
            raise Refused("VALIDATION_ERROR", f"task: {named[:80]!r} is not one of the environments here")
        return ending[0]

    def make(self, name: str) -> Any:
        """A fresh environment."""
        return self._gymnasium.make(name, **self._options)

    def action(self) -> dict[str, Any]:
        """The JSON Schema of an action, from the first environment's space."""
        environment = self.make(self.ids[0])
        space = environment.action_space
        environment.close()
        return schema_of(space)


class Session:
    """One client's environment, from its first reset to its end."""

    def __init__(self, gym: Gym) -> None:
        self._gym = gym
        self._name = ""
        self._env: Any = None
        self._steps = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="environment")

    async def answer(self, kind: str, data: dict[str, Any]) -> dict[str, Any]:
        """The reply to a message."""
        calls: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "reset": self._reset,
            "step": self._step,
            "state": lambda data: {"step_count": self._steps, "task": self._name},
        }
        if kind not in calls:
            raise Refused("UNKNOWN_TYPE", f"there is no {kind[:80]!r}: there are reset, step, state and close")
        told = await asyncio.get_running_loop().run_in_executor(self._thread, calls[kind], data)
        return {"type": "state" if kind == "state" else "observation", "data": told}

    async def aclose(self) -> bool:
        """Close the environment; False where its thread hangs."""
        closing = asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)
        try:
            await asyncio.wait_for(asyncio.shield(closing), _CLOSING_SECONDS)
        except TimeoutError:
            closing.add_done_callback(lambda done: done.cancelled() or done.exception())
            return False
        except Exception as error:
            print(f"envhost: {self._name} did not close: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return True

    def _reset(self, data: dict[str, Any]) -> dict[str, Any]:
        seed = data.pop("seed", None)
        data.pop("episode_id", None)
        name = self._gym.chosen(data.pop("task", None))
        if name != self._name or self._env is None:
            self._close()
            self._name, self._env = name, self._gym.make(name)
        self._steps = 0
        observation, _ = self._env.reset(seed=seed, options=data or None)
        return {"observation": sendable(observation), "reward": None, "done": False}

    def _step(self, data: dict[str, Any]) -> dict[str, Any]:
        if self._env is None:
            raise Refused("SESSION_ERROR", "there was no reset")
        if "action" not in data:
            raise Refused("VALIDATION_ERROR", "the field action is missing")
        action = shaped(data["action"], self._env.action_space)
        observation, reward, terminated, truncated, _ = self._env.step(action)
        self._steps += 1
        done = bool(terminated or truncated)
        return {"observation": sendable(observation), "reward": float(reward), "done": done}

    def _close(self) -> None:
        environment, self._env = self._env, None
        if environment is not None:
            environment.close()
