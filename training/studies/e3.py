"""Does e3's coupled curriculum pay? Arms at equal compute, measured at the trained budget and beyond it.

Compute: every arm trains as many steps, and a step of each draws as many problems as take the same number of tokens
(`Config.tokens`: prompts and completions, by the lengths of the step before), so arms with long chains see fewer of them.
"""

from __future__ import annotations

from typing import Any

from training.settings import Evaluation
from training.study import Arm

TITLE = "e3: curricula over difficulty and budget, at equal tokens"
EVERYTHING = {"easy": 1, "medium": 1, "hard": 1}
EASY, REST = {"easy": 1}, {"medium": 1, "hard": 1}
SHORT, LONG = 64, 256
HALF = 40


def _arm(*stages: tuple[dict[str, int], int], **settings: Any) -> Arm:
    """An arm of stages of levels and budget that share the steps."""
    steps = 2 * HALF // len(stages)
    made = [{"steps": steps, "levels": levels, "budget": budget} for levels, budget in stages]
    return Arm("e3", {"steps": 2 * HALF, "stages": made, **settings}, base="start")


ARMS: dict[str, Arm] = {
    "none": _arm((EVERYTHING, LONG)),
    "budget only": _arm((EVERYTHING, SHORT), (EVERYTHING, LONG)),
    "data only": _arm((EASY, LONG), (REST, LONG)),
    "coupled": _arm((EASY, SHORT), (REST, LONG)),
    "coupled, masked": _arm((EASY, SHORT), (REST, LONG), loss={"negatives": "mask"}),
}


def _measure(level: str, budget: int) -> Evaluation:
    decoder = {"name": "e3", "mode": "chain"}
    return Evaluation(
        name=f"{level} @ {budget}", task="residues", level=level, split="test", problems=200, decoder=decoder, max_completion_tokens=budget
    )


MEASURES = (_measure("medium", LONG), *(_measure("hard", times * LONG) for times in (1, 2, 4)))
