"""Does e3's coupled curriculum pay? Arms at equal compute, measured at the trained budget and beyond it.

Compute: every arm trains as many steps, and a step draws as many problems as take the same number of tokens
(`Config.tokens`: prompts and completions, by the lengths of the step before), so an arm with longer chains has fewer.
The start of each seed is made before: `longthink train residues_sft --set seed=1 --set output=runs/residues-1`.
"""

from __future__ import annotations

from typing import Any

from training.settings import Evaluation
from training.study import Arm

TITLE = "e3: curricula over difficulty and budget, at equal tokens"
EASY, REST = {"easy": 1}, {"medium": 1, "hard": 1}
SHORT, LONG = 64, 256
STEPS = 160
CHAIN = {"name": "e3", "mode": "chain"}


def _arm(*stages: tuple[dict[str, int], int], **settings: Any) -> Arm:
    """An arm of stages, each of levels and a budget, that share the steps."""
    steps = STEPS // len(stages)
    made = [{"steps": steps, "levels": levels, "budget": budget} for levels, budget in stages]
    return Arm("e3", {"model": "runs/residues-{seed}", "steps": STEPS, "stages": made, **settings})


def _measure(level: str, budget: int) -> Evaluation:
    name = f"{level} @ {budget}"
    given: dict[str, Any] = {"task": "residues", "level": level, "split": "test", "decoder": CHAIN}
    return Evaluation(name=name, problems=300, max_completion_tokens=budget, **given)


ARMS: dict[str, Arm] = {
    "none": _arm((EASY | REST, LONG)),
    "budget only": _arm((EASY | REST, SHORT), (EASY | REST, LONG)),
    "data only": _arm((EASY, LONG), (REST, LONG)),
    "coupled": _arm((EASY, SHORT), (REST, LONG)),
    "coupled, masked": _arm((EASY, SHORT), (REST, LONG), loss={"negatives": "mask"}),
}

MEASURES = (_measure("medium", LONG), *(_measure("hard", LONG * times) for times in (1, 2, 4)))
