"""Does RC training lift RC decoding more than it lifts a single turn, the more the more turns are decoded?

Arms spend the same steps on the same problems. `standard` samples single turns of the tokens that RC's chain of three
has; `rc` is stage I; `further` and `buffer` go on from it for as many steps again, without and with the buffer.
"""

from __future__ import annotations

from typing import Any

from training.settings import Evaluation
from training.study import Arm

TITLE = "RC on held-out Countdown (hard): single turns and many, before and after training"

ARMS = {
    "standard": Arm("grpo", {"levels": ["medium", "hard"], "batch": 16, "max_tokens": 288}),
    "rc": Arm("rc"),
    "further": Arm("rc", base="rc"),
    "buffer": Arm("rc", {"buffer": True, "pool": 100}, base="rc"),
}


def _measure(title: str, **decoder: Any) -> Evaluation:
    return Evaluation(name=title, split="test", problems=150, decoder=decoder, max_completion_tokens=8192)


MEASURES = (
    _measure("direct, 120 tokens", name="direct", max_tokens=120),
    _measure("direct, 288 tokens", name="direct", max_tokens=288),
    *(_measure(f"rc, {turns} turns", name="rc", turns=turns) for turns in (1, 2, 4, 8, 16, 32)),
)
