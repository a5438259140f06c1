"""Does RC training lift the shipped checkpoint, whose supervised start has seen what its summaries are for?

All arms start from the shipped checkpoint, see as many steps, and generate as many tokens in a step: a problem costs
`standard` 8 samples of 288 tokens, `rc` a chain of 3 turns and 16 samples of 120. `deep` has chains of 8 turns and so
fewer problems in a step; `buffer` reaches such depths with chains of 3, as its third visit of a problem begins where
the second one ended.
"""

from __future__ import annotations

from typing import Any

from training.settings import Evaluation
from training.study import Arm

TITLE = "RC on held-out Countdown (hard): single turns and many, before and after training"

SINGLE = {"levels": ["medium", "hard"], "batch": 24, "group": 8, "steps": 50, "max_tokens": 288, "max_length": 288}
TURNS = {
    **{"model": "longthink-tiny", "task": "countdown", "reasoning_tokens": 120, "summary_tokens": 24},
    **{"max_length": 120, "steps": 50, "wrong": -1.0, "pool": 2000},
}
ARMS = {
    "standard": Arm("grpo", {**SINGLE, "learning_rate": 3e-4, "wrong": -1.0}),
    "rc": Arm("rc", TURNS),
    "deep": Arm("rc", {**TURNS, "turns": 8, "batch": 18}),
    "buffer": Arm("rc", {**TURNS, "buffer": True, "pool": 200}),
}


def _measure(title: str, **decoder: Any) -> Evaluation:
    return Evaluation(name=title, split="test", problems=150, decoder=decoder, max_completion_tokens=8192)


MEASURES = (
    _measure("direct, 120 tokens", name="direct", max_tokens=120),
    _measure("direct, 288 tokens", name="direct", max_tokens=288),
    *(_measure(f"rc, {turns} turns", name="rc", turns=turns) for turns in (1, 4, 8, 16, 32)),
)
