"""Does pay for progress make thoughts right sooner than pay for the outcome? MRT's comparison, on residues.

Compute: an arm of reinforcement takes as many steps as the others, and a step draws as many problems as take the same
number of generated tokens (`tokens`), forced answers among them; so an arm that probes has fewer thoughts to learn
from. Reading the probes' prompts comes on top, which a prefix cache makes cheap and the table's CPU minutes show:
`outcome-cpu` is the control with so many more tokens that it takes as long. The two that imitate sample as many tokens
in all, and then go over what they kept a few times. What is measured is J at a budget: thoughts are cut there and made
to answer. Each seed starts from a checkpoint of its own, which has ways to think that pay and ways that do not: of ten
attempts it was shown three repeat the last number, and of the others two in ten fit. Made by

    longthink train residues_sft --set fitting=0.2 --set rambling=0.3 --set seed=S --set output=runs/rambling-S
"""

from __future__ import annotations

from typing import Any

from training.settings import Evaluation
from training.study import Arm

TITLE = "MRT on held-out residues: right answers of thoughts that were ended at a budget, at equal tokens"

SAME: dict[str, Any] = {"model": "runs/rambling-{seed}", "tokens": 5000}


def _arm(**settings: Any) -> Arm:
    return Arm("mrt", {**SAME, "steps": 120, **settings})


def _star(**settings: Any) -> Arm:
    return Arm("mrt_star", {**SAME, "gather": 120, "steps": 200, **settings})


ARMS = {
    "outcome": _arm(progress=0),
    "outcome-cpu": _arm(progress=0, tokens=7000),
    "penalised": _arm(progress=0, length_penalty=0.5),
    "mrt": _arm(progress=1),
    "mrt-4": _arm(progress=4),
    "alone": _arm(progress=1, outcome=0),
    "termination": _arm(progress=1, outcome=0, reach=1),
    "star": _star(progress=0),
    "mrt-star": _star(progress=1),
}
"""GRPO, as long as MRT takes, and with a penalty on length; MRT with two weights of the progress, with progress alone,
and with termination as the baseline; imitation of what ends right, and of what progresses most."""


def _measure(level: str, tokens: int) -> Evaluation:
    """At most so many tokens of thought, and four more for the answer."""
    return Evaluation(
        name=f"{level}, {tokens} tokens of thought",
        task="residues",
        level=level,
        split="test",
        problems=300,
        decoder={
            **{"name": "budget_forcing", "waits": 0, "closing": ""},
            **{"thinking_tokens": tokens, "answer_tokens": 4},
        },
        max_completion_tokens=2 * tokens + 8,
    )


MEASURES = (
    *(_measure("medium", tokens) for tokens in (16, 32, 64)),
    *(_measure("hard", tokens) for tokens in (16, 32, 64, 128, 256)),
)
