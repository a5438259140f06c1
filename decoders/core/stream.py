"""The one adapter from a decoder, which is a coroutine, to a stream of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from decoders.base import Decoder
from decoders.core.errors import BudgetExhausted
from decoders.core.events import Answer, Event
from decoders.core.run import Run
from decoders.core.task import Task
from decoders.core.trace import Stopped


async def events(decoder: Decoder, task: Task, run: Run) -> AsyncGenerator[Event, None]:
    """Run `decoder` on `task` and yield what happens; the last event is the `Answer`.

    Closing the generator cancels the decoder and with it every engine call it has open. Errors other than an empty
    purse are raised here once all events before them are read.
    """
    async with aclosing(batches(decoder, task, run)) as stream:
        async for batch in stream:
            for event in batch:
                yield event


async def batches(decoder: Decoder, task: Task, run: Run) -> AsyncGenerator[list[Event], None]:
    """What `events` yields, in the groups that were waiting together: a slow reader gets few and large ones."""
    driver = asyncio.create_task(_drive(decoder, task, run), name=f"decoder {decoder.name}")
    try:
        while batch := await run.outbox.drain():
            yield batch
        await driver
    finally:
        driver.cancel()
        await asyncio.gather(driver, return_exceptions=True)


async def _drive(decoder: Decoder, task: Task, run: Run) -> None:
    trace = run.trace
    trace.decoder = {"name": decoder.name, **decoder.model_dump()}
    trace.question = tuple((m.role, m.content) for m in task.messages)
    try:
        try:
            trace.answer = await decoder.decode(task, run)
            trace.finish = trace.answer.finish
            run.check(trace.answer)
        except BudgetExhausted:
            trace.answer, trace.finish = run.best, "length"
            _stopped(run, "tokens")
        await run.outbox.put(Answer(trace.answer, trace.finish))
    except BaseException as error:
        _stopped(run, "cancelled" if isinstance(error, asyncio.CancelledError) else "error")
        raise
    finally:
        try:
            if run.episode is not None:
                await run.episode.aclose()
        finally:
            run.outbox.close()


def _stopped(run: Run, why: Stopped) -> None:
    """Why the interactions ended, where the decoder has not come to say it."""
    if run.trace.interaction is not None and run.trace.interaction.stopped is None:
        run.trace.interaction.stopped = why
