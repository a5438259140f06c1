"""TTI: spend a budget of interactions, and look again before an answer counts (arXiv 2506.07976).

Rule: an answer is withheld before the environment, or the caller, has seen it; and the last one is never lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from decoders.base import Completion, Honour, Run, Solving, Task
from decoders.core.deeds import Deed, deeds
from decoders.core.errors import BudgetExhausted, EnvironmentFailed, InvalidRequest
from decoders.core.messages import Message, Prompt
from decoders.core.trace import Act, Interaction
from decoders.core.transcript import Seen, Transcript, also, restored, said, words


class TTI(Solving):
    """o_0 = start; a_t ~ p(· | goal, o_0, a_0, …, o_t); o_t+1 = act(a_t), until the h-th step or the k-th answer.

    h is `max_steps` and k `min_answers`: an answer that is given for the first time is withheld, and the agent is asked
    to look again. Where it then goes on, it has used interactions that it would have left over. At the h-th step it is
    asked for a last answer. With the caller's tools in place of an environment each request is one turn: the steps are
    the calls since the caller's last message.
    """

    name: ClassVar[str] = "tti"
    paper: ClassVar[str] = "TTI, arXiv 2506.07976"
    honours: ClassVar[frozenset[Honour]] = Solving.honours | {"environment"}
    interactive: ClassVar[bool] = True

    max_steps: int = Field(default=30, ge=0, le=100_000)
    """Interactions at most; 0 is a plain answer."""
    min_answers: int = Field(default=2, ge=1, le=64)
    """How often an answer must be given before it counts: 2 looks again once, 1 never."""
    count_answers: bool = False
    """Whether an answer is an interaction too, as in the paper."""
    think_tokens: int = Field(default=1024, ge=1)
    """Tokens of one step, thought and action, at most; not of replies to a caller with tools."""
    keep_observations: int | None = Field(default=None, ge=1)
    """How many of the newest observations the agent still sees; all without it. The paper, whose pages are long: 1."""
    keep_thoughts: bool = False
    """Whether the agent sees the thinking blocks of its earlier replies, and not only what it said after them."""
    samples: int = Field(default=1, ge=1, le=64)
    """Replies drawn for each step, of which one is carried out."""
    choose: Literal["majority", "judge"] = "majority"
    """Which one: of the action that most of them take, or by the number that a judge names."""
    judge_tokens: int = Field(default=512, ge=1)
    """Tokens of a judge's reply at most."""
    judge_model: str | None = None
    """Another served model that judges."""

    async def decode(self, task: Task, run: Run) -> Completion:
        """What the agent did is told as reasoning; the reply is its answer."""
        if run.episode is None:
            return await self._turn(task, run)
        run.pack().require("act", "observe", "no_action", "recheck", "conclude")
        if self.samples > 1 and self.choose == "judge":
            run.pack(self.judge_model).require("choose")
        start = await run.begin(self.max_steps, count_answers=self.count_answers)
        if self.inner is not None and start.tools:
            raise InvalidRequest("an inner decoder cannot call the environment's tools", param="decoder.inner")
        transcript = Transcript(task, run, start, self.keep_observations)
        try:
            while (end := await self._step(transcript, run)) is None:
                pass
            return end
        except BudgetExhausted:
            with suppress(BudgetExhausted, EnvironmentFailed):
                await run.deliver()
            raise
        except EnvironmentFailed:
            if run.best is None:
                raise
            run.interaction.stopped = "error"
            return run.best

    async def _step(self, transcript: Transcript, run: Run) -> Completion | None:
        """Think, act, observe; what to return once the episode is over."""
        last = not run.interaction.left
        reply = await self._think(transcript, run, last=last)
        done: list[Deed] = []
        seen: list[Seen] = []
        for deed in deeds(reply, transcript):
            withhold = not last and run.interaction.answers + 1 < self.min_answers
            act = await self._act(deed, run, withhold=withhold)
            if act.answer is not None:
                run.answer(_given(reply, act.answer))
            if act.observation is not None and act.observation.done and act.answer is None:
                run.interaction.stopped = "env"
                return _given(reply, deed.text)
            if act.answer is not None and not withhold:
                run.interaction.stopped = "budget" if last else "answer"
                assert run.best is not None
                return run.best
            done.append(deed)
            view = transcript.newest if act.observation is None else act.observation.text
            how: Literal["observe", "recheck"] = "observe" if act.answer is None else "recheck"
            seen.append(Seen(how, view, deed.call.id if deed.call else None))
            if act.answer is not None or not run.interaction.left:
                break  # what else the reply would do is left out of it
        if last:
            run.interaction.stopped = "budget"
            await run.deliver()
            return run.best or _given(reply, done[-1].text)
        calls = [deed.call for deed in done if deed.call]
        transcript.add(said(reply, calls, thoughts=self.keep_thoughts), seen)
        return None

    async def _act(self, deed: Deed, run: Run, *, withhold: bool) -> Act:
        if deed.wrong:
            return await run.refuse(deed.text, deed.wrong)
        return await run.act(deed.text, withhold=withhold, final=deed.final)

    async def _think(self, transcript: Transcript, run: Run, *, last: bool) -> Completion:
        prompt, tokens = transcript.prompt(last=last), self.think_tokens
        if self.samples == 1:
            return await self.solve(prompt, run, role="act", max_tokens=tokens)
        replies = await self.solutions(prompt, self.samples, run, role="act", max_tokens=tokens, reply=False)
        found = ["\n".join(deed.text for deed in deeds(reply, transcript) if not deed.wrong) for reply in replies]
        votes = Counter(text for text in found if text)
        different = list(votes)
        if not different:
            return replies[0]
        chosen = max(different, key=votes.__getitem__)
        if self.choose == "judge" and len(different) > 1:
            chosen = different[await self._judged(different, transcript, run)]
        return replies[found.index(chosen)]

    async def _judged(self, candidates: Sequence[str], transcript: Transcript, run: Run) -> int:
        """Which of the candidates the judge names; the first where it names none or the purse is empty."""
        goal, view, model = transcript.start.goal, transcript.newest, self.judge_model
        task = replace(transcript.task, verbatim=True)
        prompt = run.prompt("choose", task, model=model, goal=goal, observation=view, candidates=candidates)
        try:
            verdict = await run.generate(prompt, role="judge", max_tokens=self.judge_tokens, model=model)
        except BudgetExhausted:
            return 0
        number = run.pack(model).choice(verdict.answer) or 1
        return number - 1 if number <= len(candidates) else 0

    async def _turn(self, task: Task, run: Run) -> Completion:
        """One turn of an agent whose tools the caller runs: calls for the caller, or an answer that counts."""
        prompt = run.prompt("solve", task)
        if not run.asking(prompt).tools and not any(message.tool_calls for message in task.since):
            return await self._reply(prompt, run, final=True)
        run.pack().require("recheck", "conclude")
        ids = [call.id for message in task.messages for call in message.tool_calls]
        known = await run.memory.recall(ids) if run.memory else {}
        messages, hidden = restored(prompt.messages, known), list[Message]()
        interaction = run.trace.interaction = self._counted(task, known)
        while True:
            last = not interaction.left
            final = last or interaction.answers + 1 >= self.min_answers
            shown = also(messages, words(run, "conclude", tools=True)) if last else messages
            reply = await self._reply(replace(prompt, messages=tuple(shown)), run, final=final, calls=not last)
            if reply.tool_calls:
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


def _given(reply: Completion, answer: str) -> Completion:
    """The reply that gave an answer, as the answer."""
    return reply.model_copy(update={"answer": answer, "tool_calls": (), "finish": "stop"})
