"""One run's episode: what its environment is told and says. Rule: nothing is opened before new ground is reached.

A run that is replayed gets the recorded observations. On new ground the recorded actions are sent again to a fresh
episode, which must answer as it did before. Whatever was opened is closed with the run.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from decoders.core.budget import Budget
from decoders.core.calls import World
from decoders.core.errors import BudgetExhausted, EnvironmentFailed, LongThinkError, NoEnvironment, ReplayMismatch
from decoders.core.events import Acted
from decoders.core.trace import Act, Interaction
from decoders.environments.base import Environment, Observation

CLOSING_SECONDS = 10.0
"""How long leaving an episode may take: nobody waits for an environment that hangs."""

Opener = Callable[[], Awaitable[Environment]]

log = logging.getLogger("longthink")


class Episode:
    """Acts in an environment, counts the interactions, and records them."""

    def __init__(self, opener: Opener, world: World, budget: Budget) -> None:
        self._opener, self._world, self._budget = opener, world, budget
        self._environment: Environment | None = None
        self._failed = False
        self._reached: list[Act] = []
        self._withheld: str | None = None
        self._count_answers = False

    @property
    def withheld(self) -> bool:
        """Whether there is an answer that the environment has not seen, nor any other one."""
        return self._withheld is not None

    async def begin(self, key: str, max_steps: int, *, count_answers: bool) -> Observation:
        """The first observation. Raises `NoEnvironment` where the episode has begun already."""
        if self._world.trace.interaction is not None:
            raise NoEnvironment("the episode has begun already", param="environment")
        self._world.trace.interaction = Interaction(budget=max_steps)
        self._count_answers = count_answers
        act = await self._done(key, None, self._start)
        assert act.observation is not None
        return act.observation

    async def act(self, key: str, action: str, *, withhold: bool, final: bool) -> Act:
        """Carry out an action, unless it gives an answer that is to be withheld, or no interaction is left.

        A `final` action is an answer even where the environment knows of none, which then does not see it.
        """
        return await self._done(key, action, lambda: self._attempt(action, withhold=withhold, final=final))

    async def refuse(self, key: str, action: str, text: str) -> Act:
        """Count as an action what is none; the observation says what is wrong with it."""

        async def refused() -> Act:
            return Act(key=key, action=action, observation=Observation(text, error=True))

        return await self._done(key, action, refused)

    async def deliver(self, key: str) -> Act:
        """Let the environment see the answer that is withheld, however many interactions are left."""
        action = self._withheld
        if action is None:
            raise NoEnvironment("no answer is withheld", param="environment")
        return await self._done(key, action, lambda: self._attempt(action, withhold=False, final=True), again=True)

    async def aclose(self) -> None:
        """Leave the episode; may be called twice."""
        environment, self._environment = self._environment, None
        if environment is None:
            return
        try:
            async with asyncio.timeout(CLOSING_SECONDS):
                await environment.aclose()
        except Exception:
            log.exception("an environment could not be left")

    async def _done(
        self, key: str, action: str | None, perform: Callable[[], Awaitable[Act]], *, again: bool = False
    ) -> Act:
        """What is recorded under the key, or else what is performed now, and recorded before it is returned."""
        interaction = self._world.trace.interaction
        if interaction is None:
            raise NoEnvironment("the episode has not begun", param="environment")
        recorded = self._world.recorded.get(key)
        if recorded is None:
            began = time.monotonic()
            act = (await perform()).model_copy(update={"key": key, "seconds": round(time.monotonic() - began, 6)})
            if self._world.journal is not None:
                await self._world.journal(act)
        elif isinstance(recorded, Act) and recorded.action == action:
            act = recorded
        else:
            raise ReplayMismatch(f"what was recorded as {key} is not this action")
        self._world.trace.acts.append(act)
        self._count(act, interaction, again=again)
        event = Acted(act, interaction.steps, interaction.left, replayed=recorded is not None)
        await self._world.outbox.put(event)
        return act

    def _count(self, act: Act, interaction: Interaction, *, again: bool) -> None:
        if act.reached:
            self._reached.append(act)
        if act.observation is not None and act.observation.reward is not None:
            interaction.reward = (interaction.reward or 0.0) + act.observation.reward
        if act.answer is not None:
            self._withheld = None if act.reached or again else act.action
            interaction.answers += not again
            interaction.steps += bool(self._count_answers and interaction.left and not again)
        elif act.action is not None and act.observation is not None:
            interaction.steps += bool(interaction.left)  # a last word that is no answer has none to use

    async def _start(self) -> Act:
        async with self._contact() as environment:
            seen = await environment.start()
            if seen.done:
                raise EnvironmentFailed("the episode was over before it began")
            return Act(key="", action=None, observation=seen, reached=True)

    async def _attempt(self, action: str, *, withhold: bool, final: bool) -> Act:
        async with self._contact() as environment:
            known = environment.answer(action)
            answer = action if known is None and final else known
            unseen = answer is not None if known is None else withhold
            if unseen or (answer is None and not self._left):
                withheld = withhold and answer is not None
                return Act(key="", action=action, observation=None, answer=answer, withheld=withheld)
            seen = await environment.step(action)
            return Act(key="", action=action, observation=seen, answer=answer, reached=True)

    @property
    def _left(self) -> int:
        interaction = self._world.trace.interaction
        return interaction.left if interaction else 0

    @asynccontextmanager
    async def _contact(self) -> AsyncGenerator[Environment, None]:
        """The environment where the run has come to; what goes wrong with it is typed, and final."""
        if self._budget.expired:
            raise BudgetExhausted("the deadline has passed")
        if self._failed:
            raise EnvironmentFailed("the episode cannot go on after what has happened")
        self._failed = True
        try:
            async with asyncio.timeout_at(self._budget.deadline):
                yield await self._present()
        except LongThinkError:
            raise
        except Exception as error:
            if isinstance(error, TimeoutError) and self._budget.expired:
                raise BudgetExhausted("the deadline has passed") from error
            raise EnvironmentFailed(f"the environment failed: {type(error).__name__}: {error}"[:500]) from error
        self._failed = False

    async def _present(self) -> Environment:
        if self._environment is None:
            self._environment = await self._opener()
            for act in self._reached:
                action, environment = act.action, self._environment
                seen = await (environment.start() if action is None else environment.step(action))
                if seen != act.observation:
                    said = "its start" if action is None else f"the action {action[:80]!r}"
                    raise ReplayMismatch(f"the environment does not answer {said} as it did before")
        return self._environment
