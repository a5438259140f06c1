"""Does e3's coupled curriculum pay? Arms at equal compute, measured at the trained budget and beyond it.

Compute: every arm trains as many steps, and a step draws as many problems as take the same number of tokens
(`Config.tokens`: prompts and completions, by the lengths of the step before), so an arm with longer chains has fewer.
Each seed starts from a checkpoint of its own, made by

    longthink train residues_sft --set seed=S --set output=runs/longthink-residues-S
"""

from __future__ import annotations

from typing import Any

from training.settings import Evaluation
from training.study import Arm

TITLE = "e3 on held-out residues: curricula over difficulty and budget, at equal tokens"

EASY, REST = {"easy": 1}, {"medium": 1, "hard": 1}
ALL = EASY | REST
SHORT, LONG = 64, 256
STEPS = 120
NOISY = {"tokens": 3000, "learning_rate": 5e-4}


def _arm(*stages: tuple[dict[str, int], int], **settings: Any) -> Arm:
    """An arm of stages, each of levels and a budget, that share the steps."""
    steps = STEPS // len(stages)
    made = [{"steps": steps, "levels": levels, "budget": budget} for levels, budget in stages]
    return Arm("e3", {"model": "runs/longthink-residues-{seed}", "steps": STEPS, "stages": made, **settings})


ARMS = {
    "none": _arm((ALL, LONG)),
    "budget": _arm((ALL, SHORT), (ALL, LONG)),
    "data": _arm((EASY, LONG), (REST, LONG)),
    "coupled": _arm((EASY, SHORT), (REST, LONG)),
    "masked": _arm((EASY, SHORT), (REST, LONG), loss={"negatives": "mask"}),
    "short-easy": _arm((EASY, SHORT)),
    "short-all": _arm((ALL, SHORT)),
    "short-hard": _arm(({"hard": 1}, SHORT)),
    "none-noisy": _arm((ALL, LONG), **NOISY),
    "coupled-noisy": _arm((EASY, SHORT), (REST, LONG), **NOISY),
}
"""No curriculum, over the budget or the data alone, over both; both without wrong chains; the short budget throughout,
on data that fit it less and less; the first and the fourth again with fewer tokens a step at a higher rate."""


def _measure(level: str, budget: int) -> Evaluation:
    chain: dict[str, Any] = {"name": "e3", "mode": "chain"}
    return Evaluation(
        name=f"{level}, {budget} tokens",
        task="residues",
        level=level,
        split="test",
        problems=300,
        decoder=chain,
        max_completion_tokens=budget,
    )


MEASURES = (_measure("medium", LONG), *(_measure("hard", times * LONG) for times in (1, 2, 4)))
