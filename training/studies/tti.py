"""Does a horizon that grows beat a short and a long one that stay? TTI's comparison at equal interactions.

Every arm spends `interactions` actions and answers at each step and clones as many kept episodes, so that a short
horizon buys more episodes and no arm samples or learns more than another one.
"""

from __future__ import annotations

from itertools import product

from training.settings import Evaluation
from training.study import Arm

TITLE = "TTI: success of the agent after training with horizons that grow and that stay"
SHORT, LONG = 6, 32
SAME = {
    "model": "longthink-tiny-agent",
    "levels": {"3-find": 1.0},
    "interactions": 512,
    "steps": 30,
    "every": 8,
    "shortest": SHORT,
    "longest": LONG,
}
ARMS = {
    "multiplicative": Arm("tti", {**SAME, "schedule": "multiplicative", "growth": 2}),
    "additive": Arm("tti", {**SAME, "schedule": "additive", "growth": SHORT}),
    "short": Arm("tti", {**SAME, "schedule": "fixed", "longest": SHORT}),
    "long": Arm("tti", {**SAME, "schedule": "fixed"}),
}
LEVELS = ("3-find", "4-find", "3-cheapest", "4-cheapest")
MEASURES = tuple(
    Evaluation(
        name=f"{level}, {answers} answers, {horizon} steps",
        task="site",
        level=level,
        problems=64,
        decoder={"name": "tti", "max_steps": horizon, "min_answers": answers},
    )
    for level, answers, horizon in product(LEVELS, (1, 2), (8, 32))
)
