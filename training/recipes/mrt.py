"""MRT (arXiv 2503.07572): reinforce what each episode of a thought adds, not only the answer in the end.

For each problem x a group of K thoughts of at most B tokens, cut into episodes z_1 … z_k. Every context c_j is ended by
force and answered a few times, which gives J(c_j) and the progress g_j = J(c_j) - J(c_{j-1}); the model's own answer
is the last one, g_{k+1} = r - J(c_k). The tokens of episode j have the advantage (section 6, its dense form)

    A_j = ω A(r) + α G_j,     G_j = g_j + λ G_{j+1}

with the group's outcome advantage A(r). λ = 0 pays each episode its own progress; λ = 1 makes it r - J(c_{j-1}), the
rollout's reward with termination as its baseline, and with ω = 0 in place of the group's mean. α = 0 is GRPO.

**The algebra trap.** A bonus added to the reward of a whole trace does nothing. Its sum over episodes telescopes to
r - J(c_0), and J(c_0) is the same for all of a group: it cancels when the group is centred, and the factor 1 + α that
is left cancels when it is divided by its deviation. Here the bonus is a token's own and is never put into a group's
mean, for it has a baseline already: J of the context that the episode began from.

The paper's older code draws one random context for each problem and trains what goes on from it; here each context of
an on-policy thought is one, as in the authors' later version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field, JsonValue

from benchmarks import tasks
from benchmarks.tasks import Problem
from decoders.base import Run
from training.episodes import RULES, Probe, Segmentation, Thought, probe, progress, returns
from training.play import Play, grade
from training.recipe import Recipe
from training.reinforce import reinforce
from training.rows import ADVANTAGES, Row
from training.settings import Reinforcement

if TYPE_CHECKING:
    from decoders.budget_forcing import BudgetForcing


class Config(Reinforcement):
    """Settings of the recipe."""

    output: Path = Path("runs/mrt")
    """Folder of the run."""
    task: str = "residues"
    """Where problems come from."""
    levels: tuple[str, ...] = ("medium", "hard")
    """Drawn from evenly."""
    pool: int = Field(default=480, ge=1)
    """How many of each level."""
    max_tokens: int = Field(default=128, ge=1)
    """Tokens of a thought and its answer at most, B."""
    tokens: int | None = Field(default=None, ge=1)
    """Instead of `batch` problems, as many as take about so many generated tokens, those of probes among them, by the
    step before: so steps cost the same whatever the lengths and whatever is probed."""
    outcome: float = Field(default=1.0, ge=0)
    """Weight of the group's advantage, ω."""
    progress: float = Field(default=1.0, ge=0)
    """Weight of the progress, α; with 0 nothing is probed."""
    reach: float = Field(default=0.0, ge=0, le=1)
    """How far an episode is paid for what follows it, λ."""
    probes: int = Field(default=2, ge=1)
    """Answers that are forced behind each context."""
    ending: dict[str, JsonValue] = Field(default={})
    """How a thought is ended: options of `budget_forcing` over those of the template pack, `closing` and
    `answer_tokens`."""
    segmentation: Segmentation | None = None
    """Where episodes end; without it as the model's template pack has it."""
    length_penalty: float = Field(default=0.0, ge=0, le=1)
    """A control: what a right answer loses of its reward at B tokens, and in proportion below."""


PRESETS: dict[str, dict[str, JsonValue]] = {
    "paper": {
        "task": "questions",
        "levels": ["all"],
        "pool": 4000,
        "steps": 62,
        "batch": 64,
        "group": 4,
        "temperature": 0.9,
        "max_tokens": 24576,
        "max_length": 24576,
        "ending": {"answer_tokens": 4096},
        "probes": 4,
        "learning_rate": 1e-6,
        "warmup": 6,
        "weight_decay": 0.01,
    },
    "tiny": {
        "model": "runs/longthink-residues",
        "steps": 120,
        "tokens": 5000,
        "ending": {"closing": "", "answer_tokens": 4},
        "learning_rate": 3e-4,
        "loss": {"clip_high": 0.5, "entropy": 0.002},
    },
}
"""Of the paper are the rates, the group, the lengths and the single epoch over 4,000 problems (table 3), and of the
authors' later version α = 1 and four answers for each context; it says nothing of the advantage's other choices."""


@dataclass(frozen=True, slots=True)
class Group:
    """The thoughts on one problem, what is known of their contexts, and 1 or 0 for each own answer."""

    thoughts: Sequence[Thought]
    probes: Mapping[str, Probe]
    rewards: Sequence[float]

    @property
    def pairs(self) -> list[tuple[Thought, float]]:
        """Each thought with its reward."""
        return list(zip(self.thoughts, self.rewards, strict=True))

    def success(self, thought: Thought) -> list[float]:
        """J(c_0) … J(c_k)."""
        return [self.probes[context.text].success for context in thought.contexts]


class MRT(Recipe[Config]):
    """A group of thoughts for each problem, each episode of them paid for its progress."""

    name: ClassVar[str] = "mrt"
    paper: ClassVar[str] = "MRT, arXiv 2503.07572"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._pool: Sequence[Problem] = ()
        self._spent: list[int] = []
        self._seen: list[tuple[int, float, float]] = []

    def problems(self, step: int) -> Sequence[Problem]:
        """Drawn evenly."""
        config = self.config
        if not self._pool:
            pools = [tasks.problems(config.task, level, "train", config.pool) for level in config.levels]
            self._pool = [problem for pool in pools for problem in pool]
        count = config.batch
        if config.tokens is not None and self._spent:
            count = max(1, round(config.tokens * len(self._spent) / sum(self._spent)))
        self._spent, self._seen = [], []
        return self.rng.choices(self._pool, k=count)

    async def episode(self, problem: Problem, play: Play) -> Sequence[Row]:
        """K thoughts, and for each of their tokens the outcome's advantage with its episode's return."""
        config = self.config
        group = await self.think(problem, play)
        outcomes = ADVANTAGES[config.loss.advantage]([self._reward(*pair) for pair in group.pairs])
        rows = []
        for (thought, right), outcome in zip(group.pairs, outcomes, strict=True):
            advantage: float | tuple[float, ...] = config.outcome * outcome
            if group.probes:
                own = returns(progress(group.success(thought), right), config.reach)
                advantage = thought.spread([config.outcome * outcome + config.progress * worth for worth in own])
            rows.append(await play.row(thought.step, advantage, right))
        return rows

    async def think(self, problem: Problem, play: Play) -> Group:
        """K thoughts, with probes where progress counts."""
        config = self.config
        forcing = cast("BudgetForcing", play.decoder({"name": "budget_forcing", **config.ending}))
        forced = config.probes * forcing.answer_tokens if config.progress else 0
        run = play.run(config.group * config.max_tokens * (1 + forced))
        group = await play.drive(run, partial(self._think, problem, play, forcing)) or Group((), {}, ())
        self._spent.append(run.trace.usage().completion_tokens)
        for thought in group.thoughts if group.probes else ():
            success = group.success(thought)
            self._seen.append((len(success) - 1, success[0], success[-1]))
        return group

    async def _think(self, problem: Problem, play: Play, forcing: BudgetForcing, run: Run) -> Group:
        config = self.config
        prompt = run.prompt("solve", play.task(problem))
        await run.sample(prompt, config.group, role="solve", max_tokens=config.max_tokens)
        rule = config.segmentation or RULES.get(run.pack().name, Segmentation())
        steps = sorted(run.trace.steps, key=lambda step: int(step.key.rpartition(".")[2]))
        thoughts = [await Thought.read(step, rule, forcing.closing, play) for step in steps]
        rewards = [grade(problem, step.completion, 0.0) for step in steps]
        if not config.progress:
            return Group(thoughts, {}, rewards)
        contexts = [context for thought in thoughts for context in thought.contexts]
        size = {"samples": config.probes, "tokens": forcing.answer_tokens}
        return Group(thoughts, await probe(contexts, problem, prompt, run, **size), rewards)

    def _reward(self, thought: Thought, right: float) -> float:
        share = thought.step.completion.completion_tokens / self.config.max_tokens
        return right * (1 - self.config.length_penalty * share)

    def metrics(self) -> Mapping[str, float]:
        """Tokens of a problem with its probes; episodes of a thought, and J at its beginning and at its end."""
        found = {"spent": fmean(self._spent)} if self._spent else {}
        names = ("episodes", "at_once", "ended")
        return found | {name: fmean(column) for name, column in zip(names, zip(*self._seen, strict=True), strict=False)}

    def state(self) -> Mapping[str, Any]:
        """What the last step spent."""
        return {"spent": self._spent}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The same, read back."""
        self._spent = list(state["spent"])


def train(config: Config) -> Path:
    """Train, write the checkpoint and return its folder."""
    return reinforce(MRT, config)
