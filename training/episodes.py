"""A thought cut into episodes, and what each of them is worth: the progress of MRT (arXiv 2503.07572, definition 6.1).

    J(c) = probability of a right answer where the thought is ended behind c
    r_prg(z_j; c_{j-1}) = J(c_j) - J(c_{j-1})

J is estimated by forced termination: the thought is ended as the decoder `budget_forcing` ends one that it cuts, and a
few answers are sampled. Rule: an episode ends at a whole token, so that each token belongs to one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from statistics import fmean

from pydantic import BaseModel, ConfigDict, Field

from benchmarks.tasks import Problem
from decoders.core.draft import Draft
from decoders.core.errors import ContextOverflow
from decoders.core.messages import Prompt
from decoders.core.run import Run
from decoders.core.thinking import CLOSE, OPEN
from decoders.core.trace import Completion, Step
from training.play import Play, grade


class Segmentation(BaseModel):
    """Where one episode ends and the next begins. The defaults are the paper's, for models that reason in prose."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)

    apart: str = Field(default="\n\n", min_length=1)
    """What stands between two steps."""
    marks: tuple[str, ...] = (
        "Wait",
        "But wait",
        "Alternatively",
        "Is there another way to think about this?",
        "But let me double-check",
        "But hold on",
    )
    """An episode begins with a step that begins with one of these."""
    shortest: int = Field(default=3, ge=1)
    """Steps of an episode at least; a mark that comes earlier does not count."""
    cuts: int = Field(default=49, ge=1)
    """After so many the rest is one episode."""
    merge: int = Field(default=5, ge=1)
    """So many consecutive episodes count as one."""

    def ends(self, thought: str) -> list[int]:
        """Where each episode ends, in characters; the last one at the end."""
        begins, size, place = list[int](), 0, 0
        for step in thought.split(self.apart):
            if size >= self.shortest and len(begins) < self.cuts and step.lstrip().startswith(self.marks):
                begins.append(place)
                size = 0
            size += 1
            place += len(step) + len(self.apart)
        return [*begins[self.merge - 1 :: self.merge], len(thought)]


ATTEMPTS = Segmentation(apart=" ", marks=("try",), shortest=2, cuts=1000, merge=1)
"""Of the small tasks: a thought is a row of attempts, each of which begins with `try`."""
RULES: Mapping[str, Segmentation] = {"residues": ATTEMPTS, "tiny": ATTEMPTS}
"""By template pack; all others have the paper's."""


@dataclass(frozen=True, slots=True)
class Thought:
    """A sampled reply and the contexts c_0, c_1, … in it: how many of its tokens each has, and the thought ended there.

    c_0 is the thought before its first word. A thought that was cut has no context at its end, for it has no answer.
    """

    step: Step
    cuts: tuple[int, ...]
    contexts: tuple[Draft, ...]

    @classmethod
    async def read(cls, step: Step, rule: Segmentation, closing: str, play: Play) -> Thought:
        """The episodes of one reply. Without a thinking block all of it is the thought.

        `closing` begins the answers of those that are ended early; a whole thought is only closed.
        """
        done = step.completion
        thought, closed, _ = done.text.partition(CLOSE)
        begin = thought.find(OPEN) + len(OPEN) if thought.lstrip().startswith(OPEN) else 0
        ends = [begin, *(end for end in rule.ends(thought) if end > begin)]
        if cut := not closed and done.finish == "length":
            ends = ends[:-1] or [begin]
        cuts, contexts = [0], list[Draft]()
        for end in ends:
            text = thought[:end].rstrip()
            whole = not cut and end == len(thought)
            cuts.append(await _size(done, len(text), cuts[-1], play))
            contexts.append(Draft(text, (done,)).ended("" if whole else closing))
        return cls(step, tuple(cuts[1:]), tuple(contexts))

    def spread(self, worths: Sequence[float]) -> tuple[float, ...]:
        """For each token the worth of what it belongs to: an episode, or what comes behind the last context."""
        size = len(self.step.completion.token_ids)
        return tuple(
            worth
            for worth, (begin, end) in zip(worths, pairwise([0, *self.cuts[1:], size]), strict=True)
            for _ in range(end - begin)
        )


async def _size(done: Completion, length: int, low: int, play: Play) -> int:
    """The least number of tokens that have so many characters, known to be at least `low`: found by halving."""
    high = len(done.token_ids)
    while low < high:
        middle = (low + high) // 2
        shorter = len(await play.text(done.token_ids[:middle])) < length
        low, high = (middle + 1, high) if shorter else (low, middle)
    return low


@dataclass(frozen=True, slots=True)
class Probe:
    """The answers that came where a thought was ended, and whether they are right."""

    answers: tuple[Completion, ...]
    rewards: tuple[float, ...]

    @property
    def success(self) -> float:
        """The estimate of J."""
        return fmean(self.rewards or (0.0,))


async def probe(
    contexts: Iterable[Draft], problem: Problem, prompt: Prompt, run: Run, *, samples: int, tokens: int
) -> dict[str, Probe]:
    """By the text of each context, so many answers of at most so many tokens; equal ones, as c_0, are probed once."""

    async def one(context: Draft, run: Run) -> Probe:
        try:
            asked = replace(prompt, prefix=context.text)
            answers = await run.sample(asked, samples, role="probe", max_tokens=tokens)
        except ContextOverflow:  # no room for an answer: none is right
            answers = []
        rewards = [grade(problem, context.plus(answer).completion(), 0.0) for answer in answers]
        return Probe(tuple(answers), tuple(rewards))

    different = {context.text: context for context in contexts}
    found = await run.parallel([partial(one, context) for context in different.values()])
    return {text: own or Probe((), ()) for text, own in zip(different, found, strict=True)}


def progress(success: Sequence[float], outcome: float) -> list[float]:
    """r_prg of each episode, from J(c_0) … J(c_k), and of the model's own answer behind them: outcome - J(c_k)."""
    return [after - before for before, after in pairwise([*success, outcome])]


def returns(gains: Sequence[float], reach: float) -> list[float]:
    """G_j = g_j + λ G_{j+1}: with λ = 0 the gains themselves, with 1 the sum of what follows."""
    found, behind = list[float](), 0.0
    for gain in reversed(gains):
        behind = gain + reach * behind
        found.append(behind)
    return found[::-1]
