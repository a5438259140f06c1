"""Early exit on progress: stop an iterative decoder once going on no longer changes its answer (MRT, arXiv 2503.07572).

MRT measures progress by forcing the model to answer after each episode. Here an episode's own answer counts, and where
it was cut before it gave one, a probe asks for the answer so far.
"""

from __future__ import annotations

from decoders.core.run import Run
from decoders.core.task import Task
from decoders.core.trace import Completion


class Progress:
    """The answers of one decoder's episodes: settled when the newest `stable` ones are the same; never with 0."""

    def __init__(self, task: Task, run: Run, *, stable: int, probe_tokens: int) -> None:
        self._task, self._run = task, run
        self._stable, self._probe_tokens = stable, probe_tokens
        self._answers: list[str | None] = []

    async def settled(self, episode: Completion) -> bool:
        """Take the newest episode into account; True when the decoder may stop."""
        if not self._stable:
            return False
        self._answers.append(await self._answer(episode))
        newest = self._answers[-self._stable :]
        return len(newest) == self._stable and newest[0] is not None and len(set(newest)) == 1

    async def _answer(self, episode: Completion) -> str | None:
        if not episode.answered and self._probe_tokens:
            prompt = self._run.prompt("answer_now", self._task, draft=episode.text)
            episode = await self._run.generate(prompt, role="probe", max_tokens=self._probe_tokens, reply=True)
            if episode.answered:
                self._run.answer(episode)
        return self._run.same(episode) if episode.answered else None
