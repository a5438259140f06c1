"""Help for problems that a policy never solves by itself: how a solution of them begins, and what is made of it.

The beginning of a known solution z stands in the prompt, as a hint in the user's turn or as the first tokens of the
assistant's, which the policy continues as any served engine continues a reply (`continue_final_message`). Guided and
plain copies of a problem are trained side by side, each a group of its own; only plain ones are ever measured.

Rule: a guide is read and never learned: it is part of a row's prompt, whatever its placement.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from benchmarks.tasks import Problem
from decoders.core.draft import Draft
from decoders.core.engine import Tokenizing
from decoders.core.errors import EngineError
from decoders.core.messages import Prompt
from decoders.core.run import Run
from decoders.core.task import Task
from decoders.core.trace import Completion, Step
from training import traces
from training.play import POLICY, Play, grade
from training.recipe import Recipe
from training.rows import ADVANTAGES, Row
from training.settings import Reinforcement
from training.traces import Solution

Placement = Literal["user_hint", "assistant_prefix"]
Choice = Literal["shortest", "random"]


class Guidance(BaseModel):
    """Which part of a solution is shown, where, and to how many copies of a problem; the defaults are PrefixRL's."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)

    placement: Placement = "assistant_prefix"
    """A hint in the user's turn, cut from the solution, or the beginning of the reply, cut from the reply."""
    choice: Choice = "random"
    """Of `cuts` places evenly spaced up to `high` the first one from which the policy succeeds, or one drawn evenly
    between `low` and `high`."""
    low: float = 0.4
    """The smallest part of a solution's tokens that is drawn."""
    high: float = 0.8
    """The largest part that is shown; `shortest` falls back on it where nothing works."""
    cuts: int = Field(default=5, ge=1)
    """Places that `shortest` tries."""
    tries: int = Field(default=8, ge=1)
    """Samples at each of them."""
    refresh: int | None = Field(default=None, ge=1)
    """Choose anew after so many steps, as the policy improves; 1 draws at every visit, None never chooses again."""
    guided: int = 3
    """Copies of a problem in an epoch that are guided, each with a cut of its own where cuts are drawn."""
    plain: int = 1
    """Copies that are not."""
    strict: bool = False
    """Whether a hint comes with the order not to work out again what it says: an ablation of POPE's."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not 0 <= self.low <= self.high <= 1:
            raise ValueError("low and high are shares of a solution, low at most high")
        if min(self.guided, self.plain) < 0 or not self.guided + self.plain:
            raise ValueError("there is nothing to train on: guided or plain is above 0")
        return self


class GuidedConfig(Reinforcement):
    """Settings of every recipe with guidance."""

    traces: Path = Path("runs/traces.jsonl")
    """Problems with solutions, from `longthink traces`; its training problems are the ones trained on."""
    max_tokens: int = Field(default=160, ge=1)
    """Tokens of a sample at most, those of its guide not counted."""
    wrong: float = 0.0
    """Reward of an answer that is wrong; what is right has 1, what came to no answer 0."""
    guidance: Guidance = Guidance()


@dataclass(frozen=True, slots=True)
class Guide:
    """The beginning of a solution; `share` says how much of it. An empty one is no help."""

    text: str
    placement: Placement
    share: float
    strict: bool = False

    def prompt(self, task: Task, run: Run) -> Prompt:
        """The problem with this help."""
        if not self.text or self.placement == "assistant_prefix":
            return run.prompt("solve", task, prefix=self.text)
        return run.prompt("solve_guided", task, guidance=self.text, strict=self.strict)

    def reply(self, completion: Completion) -> Completion:
        """The whole reply: a prefix and what continues it."""
        return completion if self.placement == "user_hint" else Draft(self.text).plus(completion).completion()


NONE = Guide("", "user_hint", 0.0)
"""A plain prompt."""


@dataclass(frozen=True, slots=True)
class Copy:
    """One of the guided copies of a problem, by number: itself a problem, with the same question and checker."""

    problem: Problem
    number: int

    @property
    def id(self) -> str:
        """The problem's with the number."""
        return f"{self.problem.id}+{self.number}"

    @property
    def question(self) -> str:
        """The problem's."""
        return self.problem.question

    @property
    def environment(self) -> Any:
        """The problem's."""
        return self.problem.environment

    def check(self, answer: str) -> bool:
        """As the problem's."""
        return self.problem.check(answer)


async def cut(solution: Solution, share: float, settings: Guidance, words: Tokenizing) -> Guide:
    """The guide that shows so much of a solution, counted in its tokens and never all of them."""
    if settings.placement == "user_hint":
        ids = await words.tokenize(Prompt(text=solution.solution))
    elif solution.reply:
        ids = await traces.ids(solution, words)
    else:
        raise ValueError(f"{solution.id}: a prefix is cut from a reply, and the traces have only a solution of it")
    size = min(round(share * len(ids)), len(ids) - 1)
    text = await words.detokenize(ids[:size]) if size > 0 else ""
    # a character that the cut has split would be read as another one
    return Guide(text.rstrip("\ufffd"), settings.placement, share, settings.strict)


async def attempts(problem: Problem, guide: Guide, play: Play, n: int, max_tokens: int) -> list[Step]:
    """`n` samples of one prompt, in order; fewer where the purse ends."""
    run = play.run(n * max_tokens)
    prompt = guide.prompt(play.task(problem), run)
    await play.drive(run, lambda run: run.sample(prompt, n, role="solve", max_tokens=max_tokens))
    return sorted(run.trace.steps, key=lambda step: int(step.key.rpartition(".")[2]))


def rewards(problem: Problem, guide: Guide, steps: Sequence[Step], wrong: float = 0.0) -> list[float]:
    """What each sample is worth."""
    return [grade(problem, guide.reply(step.completion), wrong) for step in steps]


def words(play: Play) -> Tokenizing:
    """The policy's tokenizer. Raises `EngineError` where its engine has none to offer."""
    engine = play.models[POLICY].engine
    if not isinstance(engine, Tokenizing):
        raise EngineError(f"{engine.model} does not tell token ids, so no solution can be cut for it")
    return engine


C = TypeVar("C", bound=GuidedConfig)


class Guided(Recipe[C]):
    """Groups of samples for guided and plain copies of problems, an epoch after the other over all copies.

    `pool` are the problems with their solutions, by default those of `config.traces`.
    """

    def __init__(self, config: C, pool: Sequence[tuple[Problem, Solution]] | None = None) -> None:
        super().__init__(config)
        found = traces.read(config.traces) if pool is None else pool
        found = [(problem, solution) for problem, solution in found if solution.split == "train"]
        if not found:
            raise ValueError(f"{config.traces} has no solutions of training problems")
        self._solutions = {problem.id: solution for problem, solution in found}
        self._copies = [copy for problem, _ in found for copy in self._variants(problem)]
        self._left: list[int] = []
        self._chosen: dict[str, tuple[int, float]] = {}
        self._solved: set[str] = set()
        self._seen: dict[str, list[tuple[float, bool]]] = {}

    def _variants(self, problem: Problem) -> list[Problem]:
        guidance = self.config.guidance
        return [*[Copy(problem, i) for i in range(guidance.guided)], *[problem] * guidance.plain]

    def problems(self, step: int) -> Sequence[Problem]:
        """The next copies of the epoch; a new one begins in the middle of a batch."""
        self._seen = {}
        while len(self._left) < self.config.batch:
            self._left += self.rng.sample(range(len(self._copies)), len(self._copies))
        drawn, self._left = self._left[: self.config.batch], self._left[self.config.batch :]
        return [self._copies[place] for place in drawn]

    async def episode(self, problem: Problem, play: Play) -> Sequence[Row]:
        """K samples behind the copy's guide, or of the plain prompt."""
        config = self.config
        guide = await self.guide(problem, play) if isinstance(problem, Copy) else NONE
        steps = await attempts(problem, guide, play, config.group, config.max_tokens)
        worth = rewards(problem, guide, steps, config.wrong)
        if not worth:
            return []
        kind = "guided" if isinstance(problem, Copy) else "plain"
        self._seen.setdefault(kind, []).append((guide.share, len(set(worth)) == 1))
        if kind == "plain" and max(worth) == 1:
            self._solved.add(problem.id)
        return await play.rows(steps, ADVANTAGES[config.loss.advantage](worth), worth, kind)

    async def guide(self, copy: Copy, play: Play) -> Guide:
        """The guide of a copy at this step."""
        settings, id = self.config.guidance, copy.problem.id
        solution, engine = self._solutions[id], words(play)
        if settings.choice == "random":
            period = 0 if settings.refresh is None else play.step // settings.refresh
            drawn = random.Random(f"{self.config.seed}/{copy.id}/{period}").uniform(settings.low, settings.high)
            return await cut(solution, drawn, settings, engine)
        since, share = self._chosen.get(id, (play.step, None))
        if share is None or (settings.refresh is not None and play.step - since >= settings.refresh):
            share = await self._shortest(copy, solution, play)
            self._chosen[id] = (play.step, share)
        return await cut(solution, share, settings, engine)

    async def _shortest(self, copy: Copy, solution: Solution, play: Play) -> float:
        """The smallest of the evenly spaced shares from which one of some samples succeeds, or the largest of them."""
        settings = self.config.guidance
        shares = [settings.high * (place + 1) / settings.cuts for place in range(settings.cuts)]
        for share in shares[:-1]:
            guide = await cut(solution, share, settings, words(play))
            tried = await attempts(copy, guide, play.within(f"{share:.3f}"), settings.tries, self.config.max_tokens)
            if max(rewards(copy, guide, tried), default=0.0) == 1:
                return share
        return shares[-1]

    def state(self) -> Mapping[str, Any]:
        """The rest of the epoch, the shares that were chosen, and what was solved without help."""
        return {"left": self._left, "chosen": self._chosen, "solved": sorted(self._solved)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with them."""
        self._left, self._solved = list(state["left"]), set(state["solved"])
        self._chosen = {id: (step, share) for id, (step, share) in state["chosen"].items()}

    def metrics(self) -> Mapping[str, float]:
        """What POPE's authors watch: groups without a signal, and problems never solved without help; mean shares."""
        found = {"unsolved": float(len(self._solutions) - len(self._solved))}
        for kind, seen in self._seen.items():
            found[f"idle/{kind}"] = fmean(idle for _, idle in seen)
        if guided := self._seen.get("guided"):
            found["share"] = fmean(share for share, _ in guided)
        return found
