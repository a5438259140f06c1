"""One request at work: its runs side by side, told in order, counted and measured.

Rule: whoever reads `pieces` to the end has seen everything; whoever stops reading has stopped every engine call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from functools import partial

from decoders.core.engine import Finish
from decoders.core.errors import InvalidRequest
from decoders.core.events import Answer, Event
from decoders.core.messages import Prompt
from decoders.core.run import Run
from decoders.core.stream import batches
from decoders.core.trace import Usage
from decoders.direct import Direct
from server.admission.permit import Permit
from server.context import origin
from server.metrics import Watch
from server.narrator import Narrator, Piece
from server.report import Facts, Report
from server.service import Order
from server.steps import finished

Batches = AsyncGenerator[list[Event], None]


class Generation(Report):
    """The runs of one order.

    Where another replica had them before, `told` is what was shown of each choice, `before` what it cost.
    """

    def __init__(
        self,
        order: Order,
        runs: Sequence[Run],
        watch: Watch,
        permit: Permit,
        told: Sequence[Sequence[Piece]] = (),
        before: Usage | None = None,
        spans: AbstractContextManager[None] | None = None,
    ) -> None:
        self.order = order
        self.choices, self.labels = order.choices, order.labels
        self.permit = permit
        self._runs = runs
        self._watch = watch
        said = zip(runs, told or [()] * len(runs), strict=True)
        self._narrators = [
            Narrator(pieces, partial(finished, run=run) if order.steps else None) for run, pieces in said
        ]
        self._before = before or Usage()
        self._spans = spans or nullcontext()
        self._ended = 0.0

    async def pieces(self) -> AsyncGenerator[list[tuple[int, Piece]], None]:
        """What there is to show, by choice, as it arrives; an empty list when something began without a word."""
        order = self.order
        sources = [batches(order.decoder, order.task(i), run) for i, run in enumerate(self._runs)]
        with self._spans, self._watch as watch:
            try:
                merging = _one(sources[0]) if len(sources) == 1 else _together(sources)
                async with self.permit.turn(self.spent), aclosing(merging) as merged:
                    async for index, batch in merged:
                        watch.batch(batch)
                        yield [(index, piece) for piece in self._narrators[index].tell(batch)]
                watch.done(self.usage(), order.budget, self._finish())
            finally:
                self._ended = time.time()
                origin().tokens += self.spent()
                watch.spent(self.usage(), self.spent(), self._before)

    def prompts(self) -> list[Prompt]:
        """What the engine will be given for each task. Raises `InvalidRequest` for decoders with several."""
        order, decoder = self.order, self.order.decoder
        if not isinstance(decoder, Direct):
            message = f"token ids belong to one prompt, and the decoder {decoder.name} makes several: use direct"
            raise InvalidRequest(message, param="return_token_ids")
        firsts = self._runs[:: order.n]
        return [run.asking(decoder.prompt(task, run)) for task, run in zip(order.tasks, firsts, strict=True)]

    def answer(self, index: int) -> Answer | None:
        """The answer of one choice, once it is there."""
        return self._narrators[index].answer

    def facts(self) -> Facts:
        """What is known so far."""
        order, usage, decoder = self.order, self.usage(), self._runs[0].trace.decoder
        spent, ended = self.spent(), self._ended
        return Facts(
            decoder=decoder,
            seed=order.seed,
            budget=order.budget,
            usage=usage,
            spent=spent,
            ended=ended,
            interaction=self._runs[0].trace.interaction,
        )

    def usage(self) -> Usage:
        """Exact counts, over all choices."""
        return Usage.total([run.trace.usage() for run in self._runs])

    def spent(self) -> int:
        """Tokens that were generated, those of calls that were cut off included."""
        return sum(run.budget.spent for run in self._runs)

    def _finish(self) -> Finish:
        """Why the request ended, for the metrics: the strongest reason of its choices."""
        reasons = {self.finish(index) for index in range(self.choices)}
        return "length" if "length" in reasons else "tool_calls" if "tool_calls" in reasons else "stop"


async def _one(source: Batches) -> AsyncGenerator[tuple[int, list[Event]], None]:
    async with aclosing(source):
        async for batch in source:
            yield 0, batch


async def _together(sources: Sequence[Batches]) -> AsyncGenerator[tuple[int, list[Event]], None]:
    """Batches of several runs as they come; the first failure is raised and ends the others."""
    queue: asyncio.Queue[tuple[int, list[Event] | Exception | None]] = asyncio.Queue(len(sources))

    async def pump(index: int, source: Batches) -> None:
        try:
            async with aclosing(source):
                async for batch in source:
                    await queue.put((index, batch))
            await queue.put((index, None))
        except Exception as error:
            await queue.put((index, error))

    pumps = [asyncio.create_task(pump(i, source)) for i, source in enumerate(sources)]
    try:
        ended = 0
        while ended < len(pumps):
            index, item = await queue.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                ended += 1
            else:
                yield index, item
    finally:
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
