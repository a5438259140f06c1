"""What holds for every environment, whatever its kind: deadlines, sizes, places, final actions, and that it is left.

Rule: after a failure or a cancellation in the middle of an action nothing reaches the environment but its end.
"""

from __future__ import annotations

import asyncio
import logging
import re
import string
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import orjson

from decoders.core.errors import EnvironmentFailed, LongThinkError
from decoders.environments import tools
from decoders.environments.base import Environment, Observation
from decoders.environments.options import Options
from decoders.environments.wording import cut

CLOSING_SECONDS = 10.0
_ANSWER = re.compile(r"\s*answer\b[\s:]*(?P<answer>\S.*?)\s*", re.IGNORECASE | re.DOTALL)

log = logging.getLogger("longthink")


class Guarded:
    """An environment under the rules of its configuration. `left` is told when the episode's place is free again."""

    def __init__(
        self,
        name: str,
        inner: Environment,
        options: Options,
        places: asyncio.Semaphore,
        left: Callable[[Guarded], None] = lambda episode: None,
    ) -> None:
        self._name, self._inner, self._options = name, inner, options
        self._finals = Finals(options.final_actions, options.final_template)
        self._places, self._left = places, left
        self._placed = self._broken = self._over = False
        self._closing: asyncio.Task[None] | None = None

    async def start(self) -> Observation:
        """The first observation, once there is a place."""
        options = self._options
        try:
            async with asyncio.timeout(options.wait_seconds):
                await self._places.acquire()
        except TimeoutError:
            busy = f"all {options.max_concurrent} places were taken for {options.wait_seconds:g} s"
            raise EnvironmentFailed(f"environment {self._name!r}: {busy}") from None
        self._placed = True
        seen = await self._bounded(self._inner.start, options.start_seconds)
        self._finals.with_tools = bool(seen.tools)
        return seen

    async def step(self, action: str) -> Observation:
        """What comes of an action. Raises `EnvironmentFailed` where the episode is over or was broken off."""
        if self._over or self._broken or not self._placed:
            why = "is over" if self._over else "was broken off" if self._broken else "has not started"
            raise EnvironmentFailed(f"environment {self._name!r}: the episode {why}")
        inner = self._inner.answer(action) is None
        written = self._finals.write(action) if inner else action
        return await self._bounded(lambda: self._inner.step(written), self._options.step_seconds)

    def answer(self, action: str) -> str | None:
        """The answer that an action gives, by the environment itself or by the configuration."""
        known = self._inner.answer(action)
        return self._finals.answer(action) if known is None else known

    async def aclose(self) -> None:
        """Leave the episode, even where whoever asks is cancelled meanwhile."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(CLOSING_SECONDS):
                await self._inner.aclose()
        except Exception as error:
            log.warning("environment %s: it could not be left: %s: %s", self._name, type(error).__name__, error)
        finally:
            if self._placed:
                self._places.release()
            self._placed = False
            self._broken = True
            self._left(self)

    async def _bounded(self, work: Callable[[], Awaitable[Observation]], seconds: float) -> Observation:
        self._broken = True
        try:
            async with asyncio.timeout(seconds):
                seen = await work()
        except LongThinkError:
            raise
        except TimeoutError as error:
            raise EnvironmentFailed(f"environment {self._name!r} did not answer within {seconds:g} s") from error
        except Exception as error:
            told = f"{type(error).__name__}: {error}"[:500]
            raise EnvironmentFailed(f"environment {self._name!r} failed: {told}") from error
        self._broken, self._over = False, seen.done
        limit = self._options.max_observation_chars
        return replace(seen, text=cut(seen.text, limit), goal=cut(seen.goal, limit))


class Finals:
    """Which actions end an episode with an answer, and how the environment wants it written."""

    def __init__(self, patterns: list[str], template: str | None) -> None:
        self._patterns = [re.compile(pattern, re.DOTALL) for pattern in patterns]
        self._template = template
        self.with_tools = False

    def answer(self, action: str) -> str | None:
        """The answer in an action; None where it gives none."""
        try:
            call = tools.read(action) if self.with_tools else None
        except ValueError:
            return action.strip() if self._template and action.strip() else None
        if call is not None:
            named = any(pattern.fullmatch(call.name) for pattern in self._patterns)
            return _told(call) if named else None
        for pattern in self._patterns:
            if match := pattern.fullmatch(action.strip()):
                named_group = match.groupdict().get("answer")
                return str(named_group or (match.group(1) if pattern.groups else match.group()))
        return match["answer"] if self._template and (match := _ANSWER.fullmatch(action)) else None

    def write(self, action: str) -> str:
        """The action as the environment wants it."""
        if self._template is None:
            return action
        if self.with_tools:
            try:
                tools.read(action)
            except ValueError:
                return _QUOTING.format(self._template, answer=action.strip())
            return action
        match = _ANSWER.fullmatch(action)
        return _QUOTING.format(self._template, answer=match["answer"]) if match else action


class _Quoting(string.Formatter):
    """`str.format` that also knows `!j`: a JSON string."""

    def convert_field(self, value: Any, conversion: Any) -> Any:
        return orjson.dumps(value).decode() if conversion == "j" else super().convert_field(value, conversion)


_QUOTING = _Quoting()


def _told(call: tools.Call) -> str:
    values = list(call.arguments.values())
    return values[0] if len(values) == 1 and isinstance(values[0], str) else orjson.dumps(call.arguments).decode()
