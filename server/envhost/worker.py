"""One environment in a process of its own, which does what it is told over a pipe.

A process and not a thread, because libraries (BrowserGym among them) keep their browser in a global, and because only a
process can be ended when it hangs. Rule: every message gets one answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

from server.envhost.conversion import Refused, sendable, shaped
from server.envhost.gym import Gym

Message = tuple[str, dict[str, Any]]


def work(pipe: Connection, ids: Sequence[str], imports: Sequence[str], options: Mapping[str, Any]) -> None:
    """Serve until None comes or nobody is there any more."""
    episode = Episode(Gym(ids, imports, options))
    try:
        while (message := pipe.recv()) is not None:
            pipe.send(episode.answer(*message))
    except (EOFError, OSError):
        pass
    finally:
        episode.close()


class Episode:
    """What the process holds."""

    def __init__(self, gym: Gym) -> None:
        self._gym = gym
        self._name = ""
        self._env: Any = None
        self._steps = 0

    def answer(self, kind: str, data: dict[str, Any]) -> Message:
        """The reply to a message, its type and its data."""
        calls: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"reset": self._reset, "step": self._step}
        try:
            if kind == "state":
                return "state", {"step_count": self._steps, "task": self._name}
            if kind not in calls:
                raise Refused("UNKNOWN_TYPE", f"there is no {kind[:80]!r}: there are reset, step, state and close")
            return "observation", calls[kind](data)
        except Refused as error:
            return "error", {"message": str(error), "code": error.code}
        except Exception as error:
            return "error", {"message": f"{type(error).__name__}: {error}"[:2000], "code": "EXECUTION_ERROR"}

    def close(self) -> None:
        """Close the environment."""
        environment, self._env = self._env, None
        if environment is not None:
            environment.close()

    def _reset(self, data: dict[str, Any]) -> dict[str, Any]:
        seed = data.pop("seed", None)
        data.pop("episode_id", None)
        name = self._gym.chosen(data.pop("task", None))
        if name != self._name or self._env is None:
            self.close()
            self._name, self._env = name, self._gym.make(name)
        self._steps = 0
        observation, _ = self._env.reset(seed=seed, options=data or None)
        return {"observation": sendable(observation), "reward": None, "done": False}

    def _step(self, data: dict[str, Any]) -> dict[str, Any]:
        if self._env is None:
            raise Refused("SESSION_ERROR", "there was no reset")
        if "action" not in data:
            raise Refused("VALIDATION_ERROR", "the field action is missing")
        observation, reward, terminated, truncated, _ = self._env.step(shaped(data["action"], self._env.action_space))
        self._steps += 1
        return {"observation": sendable(observation), "reward": float(reward), "done": bool(terminated or truncated)}
