"""The common currency of all recipes: what a policy read and wrote, and how much each token of it is to be reinforced.

Rule: token ids are those that were generated; nothing is decoded and encoded again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

EPSILON = 1e-6
"""Added to a standard deviation that is divided by, as in RC's published code."""


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence of tokens: `prompt` is read only, `completion` is what the loss is about.

    `advantage` is one number, or one for each token of the completion. `mask` is 1 for tokens that are trained, 0 for
    others (observations, prefixes of another hand); None trains all. `logprobs` are the sampler's, natural
    logarithms at the sampling temperature, where it told them. `reward` and `kind` are for the metrics. `policy` names
    which of a recipe's policies is trained on it.
    """

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    advantage: float | tuple[float, ...] = 0.0
    mask: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    reward: float | None = None
    kind: str = "policy"
    policy: str = "policy"

    def __post_init__(self) -> None:
        size = len(self.completion)
        lengths = [len(x) for x in (self.advantage, self.mask, self.logprobs) if isinstance(x, tuple)]
        if not self.prompt or not size or any(length != size for length in lengths):
            raise ValueError(
                "a row has a prompt, a completion, and one advantage, mask and logprob for each token of it"
            )

    @property
    def trained(self) -> int:
        """How many tokens the loss is about."""
        return len(self.completion) if self.mask is None else sum(self.mask)

    @property
    def moves(self) -> bool:
        """Whether any token has an advantage: without one the row has no gradient."""
        return any(self.advantage) if isinstance(self.advantage, tuple) else bool(self.advantage)


Advantage = Callable[[Sequence[float]], list[float]]
"""From the rewards of a group, samples of one prompt, to their advantages."""


def centred(rewards: Sequence[float]) -> list[float]:
    """A_i = r_i - mean(r): Dr. GRPO, and what e3's later runs use."""
    mean = fmean(rewards)
    return [reward - mean for reward in rewards]


def normalised(rewards: Sequence[float]) -> list[float]:
    """A_i = (r_i - mean(r)) / (std(r) + ε), population standard deviation: GRPO."""
    deviation = pstdev(rewards) + EPSILON
    return [difference / deviation for difference in centred(rewards)]


def left_out(rewards: Sequence[float]) -> list[float]:
    """A_i = r_i - mean of the others: RLOO. A group of one has the advantage 0."""
    if len(rewards) < 2:
        return [0.0] * len(rewards)
    factor = len(rewards) / (len(rewards) - 1)
    return [factor * difference for difference in centred(rewards)]


ADVANTAGES: dict[str, Advantage] = {"centred": centred, "normalised": normalised, "left_out": left_out}
"""By the name that a configuration gives them."""
