"""POPE (arXiv 2601.18779): on-policy exploration from the beginnings of privileged solutions, given as hints.

H: problems that the base model solves in none of 128 samples (`longthink traces mine`), each with a solution z.

1. For each x of H the shortest of evenly spaced beginnings z_{0:i}, at most a quarter of z, from which some sample is
   right: i*(x), or the quarter itself where there is none. It is chosen at the problem's first visit.
2. Train on x and on (x, z_{0:i*(x)}, I) in equal numbers. z_{0:i*} stands in the user's turn, with the instruction I to
   finish the solution from there; checking it again is allowed, for it is what lets the help carry over (`strict`
   forbids it).
3. K samples of either prompt are a group; r = 1 for a right final answer, else 0; A = r - mean r. No token of z is ever
   a target.

`refresh` is ours: the shortest beginning is looked for again as the policy improves. On the lock (`longthink train
lock`) that is the difference between hundreds of steps and tens.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from training.guidance import Choice, Guidance, Guided, GuidedConfig, Placement
from training.reinforce import reinforce


class Hints(Guidance):
    """The shortest beginning that works, to every second copy."""

    placement: Placement = "user_hint"
    choice: Choice = "shortest"
    low: float = 0.0
    high: float = 0.25
    guided: int = 1


class Config(GuidedConfig):
    """Settings of the recipe."""

    output: Path = Path("runs/pope")
    """Folder of the run."""
    guidance: Hints = Hints()


# the published code clips the importance ratio at 1 ± 4, so that only right samples are ever capped
LOSS: dict[str, JsonValue] = {"advantage": "centred", "mean": "constant", "clip_low": 4, "clip_high": 4}
PRESETS: dict[str, dict[str, JsonValue]] = {
    "paper": {
        "batch": 32,
        "group": 8,
        "max_tokens": 16384,
        "max_length": 16384,
        "temperature": 0.8,
        "learning_rate": 1e-6,
        "warmup": 0,
        "weight_decay": 0.01,
        "clip_norm": 0.3,
        "loss": {**LOSS, "entropy": 1e-4},
    },
    "tiny": {
        "steps": 60,
        "batch": 12,
        "group": 8,
        "max_tokens": 128,
        "max_length": 128,
        "learning_rate": 3e-4,
        "guidance": {"high": 0.3, "cuts": 3},
        "loss": LOSS,
    },
}


class Pope(Guided[Config]):
    """See the module."""

    name = "pope"
    paper = "POPE, arXiv 2601.18779"


def train(config: Config) -> Path:
    """Train, write the checkpoint and return its folder."""
    return reinforce(Pope, config)
