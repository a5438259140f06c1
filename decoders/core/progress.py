"""Early exit on progress: stop an iterative decoder once going on no longer changes its answer (MRT, arXiv 2503.07572).

MRT measures an episode's progress by the change in how often the model answers right when it is forced to answer from
the state that the episode left. What is right a server cannot know, so agreement stands in for it: no progress is the
same answer again. An episode's own answer counts as it is; where it was cut before it gave one, probes ask for the
answer so far from that same state, and what most of them say counts.
"""

from __future__ import annotations

from decoders.core.choosing import vote
from decoders.core.run import Run
from decoders.core.task import Task
from decoders.core.trace import Completion

PROBE = "answer_now"
"""The prompt of a probe; steps of the role `probe` are its completions."""


class Progress:
    """The answers of one decoder's episodes: settled when the newest `stable` ones are the same; never with 0.

    Raises `MissingPrompt` before anything is generated where probes are wanted and the pack cannot ask for them.
    """

    def __init__(self, task: Task, run: Run, *, stable: int, probe_tokens: int, probes: int = 1) -> None:
        self._task, self._run = task, run
        self._stable, self._probe_tokens, self._probes = stable, probe_tokens, probes
        self._answers: list[str | None] = []
        if stable and probe_tokens:
            run.pack().require(PROBE)

    async def settled(self, episode: Completion, summary: str = "") -> bool:
        """Take the newest episode, which began from `summary`, into account; True when the decoder may stop."""
        if not self._stable:
            return False
        self._answers.append(await self._answer(episode, summary))
        newest = self._answers[-self._stable :]
        return len(newest) == self._stable and newest[0] is not None and len(set(newest)) == 1

    async def _answer(self, episode: Completion, summary: str) -> str | None:
        if not episode.answered and self._probe_tokens:
            draft = episode.reasoning or episode.text
            prompt = self._run.prompt(PROBE, self._task, draft=draft, summary=summary)
            size, n = self._probe_tokens, self._probes
            probes = await self._run.sample(prompt, n, role="probe", max_tokens=size, reply=True)
            if not (said := [probe for probe in probes if probe.answered]):
                return None
            episode = vote(self._run, said)
            self._run.answer(episode)
        return self._run.same(episode) if episode.answered else None
