"""Agents whose tools the caller runs: every request is one turn of a longer way.

Rule: nothing about a conversation is stored but the turns that its caller does not see; steps are counted in what the
caller sends back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import Field

from decoders.base import Completion, Run, Solving, Task
from decoders.core.messages import Message, Prompt
from decoders.core.trace import Interaction
from decoders.core.transcript import also, restored, said, words


class Turnwise(Solving):
    """A decoder that spends interactions and withholds answers, here for callers with tools."""

    max_steps: int = Field(default=30, ge=0, le=100_000)
    """Interactions at most; 0 is a plain answer."""
    min_answers: int = Field(default=2, ge=1, le=64)
    """How often an answer must be given before it counts: 2 looks again once, 1 never."""
    count_answers: bool = False
    """Whether an answer is an interaction too, as in the paper."""
    keep_thoughts: bool = False
    """Whether the agent sees the thinking blocks of its earlier replies, and not only what it said after them."""

    async def turn(self, task: Task, run: Run) -> Completion:
        """One turn of an agent whose tools the caller runs: calls for the caller, or an answer that counts."""
        prompt = run.prompt("solve", task)
        if not run.asking(prompt).tools and not any(message.tool_calls for message in task.since):
            return await self._reply(prompt, run, final=True)
        run.pack().require("recheck", "conclude")
        ids = [call.id for message in task.messages for call in message.tool_calls]
        known = await run.memory.recall(ids) if run.memory else {}
        messages, hidden = restored(prompt.messages, known), list[Message]()
        interaction = self._counted(task, known)
        if run.trace.interaction is None:  # else this is an inner decoder, and the outer one reports
            run.trace.interaction = interaction
        while True:
            last = not interaction.left
            final = last or interaction.answers + 1 >= self.min_answers
            shown = also(messages, words(run, "conclude", tools=True)) if last else messages
            reply = await self._reply(replace(prompt, messages=tuple(shown)), run, final=final, calls=not last)
            if reply.tool_calls and not last:
                return await self._called(reply, hidden, interaction, run)
            interaction.answers += 1
            interaction.steps += bool(self.count_answers and interaction.left)
            if reply.answered or run.best is None:
                run.answer(reply)
            if final:
                interaction.stopped = "budget" if last else "answer"
                assert run.best is not None
                return reply if reply is run.best else run.best.model_copy(update={"finish": reply.finish})
            again = words(run, "recheck", observation="", omitted=False, tools=True)
            turns = [said(reply, thoughts=self.keep_thoughts), Message("user", again)]
            messages, hidden = messages + turns, hidden + turns

    async def _reply(self, prompt: Prompt, run: Run, *, final: bool, calls: bool = True) -> Completion:
        """A reply to the caller, without `calls` one that has no tools: which an inner decoder would offer."""
        if self.inner is not None and calls:
            return await self.solve(prompt, run, final=final)
        reply = await run.generate(prompt, role="act", final=final, reply=True, calls=calls)
        if run.best is None:
            run.answer(reply)
        return reply

    async def _called(
        self, reply: Completion, hidden: Sequence[Message], interaction: Interaction, run: Run
    ) -> Completion:
        """A reply that makes no more calls than are left, under which the hidden turns before it are found again."""
        calls = reply.tool_calls[: interaction.left]
        interaction.steps += len(calls)
        if hidden and run.memory:
            calls = (replace(calls[0], id=await run.memory.keep(hidden)), *calls[1:])
        return reply.model_copy(update={"tool_calls": calls})

    def _counted(self, task: Task, known: Mapping[str, Sequence[Message]]) -> Interaction:
        """What was done for the question so far: nothing is stored but what the caller sends back."""
        made = [call.id for message in task.since for call in message.tool_calls]
        answers = sum(len(known.get(id, ())) // 2 for id in made)
        steps = len(made) + (answers if self.count_answers else 0)
        return Interaction(budget=self.max_steps, steps=steps, answers=answers)
