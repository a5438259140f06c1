"""Mixture of agents: layers of proposers, each reading what the layer before has said, and an aggregator at the end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar

from pydantic import Field

from decoders.base import Completion, Decoder, Prompt, Run, Task
from decoders.core.choosing import leader, shown


class MixtureOfAgents(Decoder):
    """y_{l,i} ~ p_i(· | x, y_{l-1,1}, …, y_{l-1,n}) for layers l = 1 … L - 1; the answer is p_agg(· | x, y_{L-1,1}, …).

    All calls have equal shares of the budget, so the aggregator is never starved by the proposers.
    """

    name: ClassVar[str] = "mixture_of_agents"
    paper: ClassVar[str] = "Mixture-of-Agents, arXiv 2406.04692"

    layers: int = Field(default=3, ge=1, le=32)
    """Layers L, the aggregator's included: 3 in the paper, 2 in its light variant."""
    n: int = Field(default=6, ge=1, le=64)
    """Proposers of a layer where `proposer_models` names none: as many samples of the request's model."""
    proposer_models: list[str] = Field(default=[], max_length=64)
    """Served models that propose, each once in a layer; a name may stand there more than once."""
    aggregator_model: str | None = None
    """Another served model that aggregates in the end."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens of one call at most; without it an equal share of the budget."""

    async def decode(self, task: Task, run: Run) -> Completion:
        """Layer after layer; a layer that nobody of the one before has said anything to starts from the problem."""
        models: list[str | None] = [*self.proposer_models] or [None] * self.n
        if self.layers > 1:
            for model in (*models, self.aggregator_model):
                run.pack(model).require("synthesise")
        responses: list[str] = []
        for layers_left in range(self.layers - 1, 0, -1):
            share = self._share(run.budget.left, layers_left * len(models) + 1)
            proposals = await self._layer(task, run, models, responses, share)
            best = leader(run, proposals) if proposals else None
            if best is not None and (best.answered or run.best is None):
                run.answer(best)
            responses = [text for text in map(shown, proposals) if text]
        prompt = _prompt(task, run, self.aggregator_model, responses)
        share = self._share(run.budget.left, 1)
        last = await run.generate(prompt, role="aggregate", max_tokens=share, model=self.aggregator_model, final=True)
        return last if last.answered else run.best or last

    async def _layer(
        self, task: Task, run: Run, models: list[str | None], responses: list[str], share: int
    ) -> list[Completion]:
        def proposer(model: str | None) -> Callable[[Run], Awaitable[Completion]]:
            prompt = _prompt(task, run, model, responses)
            return lambda branch: branch.generate(prompt, role="propose", max_tokens=share, model=model, reply=True)

        return [c for c in await run.parallel([proposer(model) for model in models]) if c is not None]

    def _share(self, left: int, calls: int) -> int:
        share = max(left // calls, 1)
        return min(self.max_tokens or share, share)


def _prompt(task: Task, run: Run, model: str | None, responses: list[str]) -> Prompt:
    if not responses:
        return run.prompt("solve", task, model=model)
    return run.prompt("synthesise", task, model=model, responses=responses)
