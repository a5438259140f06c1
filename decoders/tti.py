"""TTI: spend a budget of interactions, and look again before an answer counts (arXiv 2506.07976).

Rule: an answer is withheld before the environment, or the caller, has seen it; and the last one is never lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from decoders.base import Completion, Honour, Run, Task
from decoders.core.deeds import Deed, deeds
from decoders.core.errors import BudgetExhausted, EnvironmentFailed, InvalidRequest
from decoders.core.trace import Act
from decoders.core.transcript import Seen, Transcript, said
from decoders.turnwise import Turnwise


class TTI(Turnwise):
    """o_0 = start; a_t ~ p(· | goal, o_0, a_0, …, o_t); o_t+1 = act(a_t), until the h-th step or the k-th answer.

    h is `max_steps` and k `min_answers`: an answer that is given for the first time is withheld, and the agent is asked
    to look again. Where it then goes on, it has used interactions that it would have left over. At the h-th step it is
    asked for a last answer. With the caller's tools in place of an environment each request is one turn: the steps are
    the calls since the caller's last message.
    """

    name: ClassVar[str] = "tti"
    paper: ClassVar[str] = "TTI, arXiv 2506.07976"
    honours: ClassVar[frozenset[Honour]] = Turnwise.honours | {"environment"}
    interactive: ClassVar[bool] = True

    think_tokens: int = Field(default=1024, ge=1)
    """Tokens of one step, thought and action, at most; not of replies to a caller with tools."""
    keep_observations: int | None = Field(default=None, ge=1)
    """How many of the newest observations the agent still sees; all without it. The paper, whose pages are long: 1."""
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
            return await self.turn(task, run)
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


def _given(reply: Completion, answer: str) -> Completion:
    """The reply that gave an answer, as the answer."""
    return reply.model_copy(update={"answer": answer, "tool_calls": (), "finish": "stop"})
