"""Does RC training lift RC decoding more than it lifts a single turn, the more the more turns are decoded?

All arms see as many steps and generate about as many tokens in a step: a problem costs `standard` 8 samples of 112
tokens, `rc` a chain of 3 turns and 16 samples of 32. `deep` has chains of 8 turns and so fewer problems in a step;
`buffer` reaches such depths with chains of 3, as its third visit of a problem begins where the second one ended.
Each seed starts from a checkpoint of its own, made by

    longthink train turns_sft --set seed=S --set output=runs/longthink-turns-S
"""

from __future__ import annotations

from typing import Any

from training.settings import Evaluation
from training.study import Arm

TITLE = "RC on held-out residues (hard): single turns and many, before and after training"

SAME = {"model": "runs/longthink-turns-{seed}", "steps": 60}
SINGLE = {"levels": ["medium", "hard"], "pool": 480, "batch": 16, "group": 8, "max_tokens": 112, "max_length": 112}
ARMS = {
    "standard": Arm("grpo", {**SAME, **SINGLE, "task": "residues", "learning_rate": 3e-4}),
    "rc": Arm("rc", SAME),
    "deep": Arm("rc", {**SAME, "turns": 8, "batch": 18}),
    "buffer": Arm("rc", {**SAME, "buffer": True, "pool": 200}),
}


def _measure(title: str, **decoder: Any) -> Evaluation:
    return Evaluation(
        name=title, task="residues", split="test", problems=200, decoder=decoder, max_completion_tokens=2048
    )


MEASURES = (
    _measure("one turn of 32 tokens", name="direct", max_tokens=32),
    _measure("one turn of 112 tokens", name="direct", max_tokens=112),
    *(_measure(f"{turns} turns of 32 tokens", name="rc", turns=turns) for turns in (3, 6, 12, 24)),
)
