"""Auto: the strategy that did best in measurements with the tokens there are."""

from __future__ import annotations

from typing import ClassVar

import decoders
from decoders.base import Completion, Decoder, Run, Task
from decoders.core.errors import InvalidRequest


class Auto(Decoder):
    """argmax of tokens(r) over the rungs r of the template pack's ladder with tokens(r) ≤ B, the purse.

    A ladder says which decoder with which options does best at which budget: `longthink bench ladder` writes it from
    measured accuracies; the one of the `plain` pack is a default, and each of its rungs says so. A purse smaller than
    the first rung takes that one. A rung is passed over where its decoder cannot honour what the request asks for, or
    needs what the engine has not. What was chosen stands in the trace, as `decoder.chosen`.
    """

    name: ClassVar[str] = "auto"
    paper: ClassVar[str] = "none: a table of measured results"

    async def decode(self, task: Task, run: Run) -> Completion:
        """Let the chosen decoder answer with all of the purse; what it streams as the answer is the answer."""
        chosen = self.choose(task, run)
        run.trace.decoder.setdefault("chosen", {"name": chosen.name, **chosen.model_dump()})
        completion = await run.decode(chosen, task, final=True)
        run.answer(completion)
        return completion

    def choose(self, task: Task, run: Run) -> Decoder:
        """The decoder of the highest rung within reach. Raises `InvalidRequest` where there is none."""
        pack = run.pack()
        rungs = [rung for rung in pack.ladder if rung.decoder != self.name]
        reached = [rung for rung in rungs if rung.tokens <= run.budget.left] or rungs[:1]
        built = (decoders.build(rung.decoder, rung.options, pack) for rung in reversed(reached))
        chosen = next((decoder for decoder in built if run.allows(decoder, task)), None)
        if chosen is None:
            about = "no rung of its ladder.json that can do this" if rungs else "no ladder.json"
            message = f"the template pack {pack.name} has {about}: name a decoder, or measure a ladder"
            raise InvalidRequest(message, param="decoder", code="decoder_not_supported")
        return chosen
