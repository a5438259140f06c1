"""Gymnasium environments that do what tests want of them; importing this registers them."""

from __future__ import annotations

import os
import threading
from typing import Any

import gymnasium
from gymnasium import spaces


class Parrot(gymnasium.Env[str, str]):
    """Says what it is told; some words make it misbehave."""

    observation_space = spaces.Text(10_000)
    action_space = spaces.Text(100, charset=[chr(c) for c in range(32, 127)])

    def __init__(self, greeting: str = "hello") -> None:
        self._greeting = greeting
        self._thread = threading.get_ident()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        self._same_thread()
        return f"{self._greeting} {seed} {sorted((options or {}).items())}", {"goal": "say win"}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self._same_thread()
        match action:
            case "hang":
                threading.Event().wait()
            case "die":
                os._exit(1)
            case "raise":
                raise RuntimeError("a wing is broken")
            case "shout":
                return "A" * 10_000_000, 0.0, False, False, {}
        return f"you said {action}", float(action == "win"), action == "win", False, {}

    def close(self) -> None:
        self._same_thread()

    def _same_thread(self) -> None:
        if threading.get_ident() != self._thread:
            raise RuntimeError("another thread")


class Counter(gymnasium.Env[Any, Any]):
    """Numbers instead of text."""

    observation_space = spaces.Box(0, 100, (2,))
    action_space = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.observation_space.low, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.low + action, 0.5, False, action == 2, {}


gymnasium.register("tests/Parrot-v0", Parrot, disable_env_checker=True)
gymnasium.register("tests/Counter-v0", Counter, disable_env_checker=True)
