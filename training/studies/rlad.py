"""Do trained abstractions beat none, and untrained ones? Each seed starts from a checkpoint of its own, made by

    longthink train sequences_sft --set seed=S --set output=runs/longthink-tiny-sequences-S

The control `plain` has no abstractions and as many tokens: as many more solutions of each problem as abstractions cost.
"""

from __future__ import annotations

from training.settings import Evaluation
from training.study import Arm

TITLE = "RLAD on held-out sequences (hard): abstractions before and after training"

START = {"model": "runs/longthink-tiny-sequences-{seed}"}
ARMS = {
    "shared": Arm("rlad", START),
    "two": Arm("rlad", {**START, "policies": "two"}),
    "offline": Arm("rlad_offline", START),
    "plain": Arm("rlad", {**START, "trained": "plain", "group": 14}),
}


def _measure(name: str, decoder: str, oracle: bool = False, **options: int) -> Evaluation:
    given = {"name": decoder, **({"abstraction_model": "abstraction"} if decoder == "rlad" else {}), **options}
    return Evaluation(
        name=name, task="sequences", level="hard", split="test", problems=200, decoder=given, oracle=oracle
    )


MEASURES = (
    _measure("no abstraction", "direct"),
    _measure("one abstraction", "rlad", abstractions=1, per_abstraction=1, plain=0),
    _measure("the best of 8 abstractions", "rlad", oracle=True, abstractions=8, per_abstraction=1, plain=0),
    _measure("a vote under 8 abstractions", "rlad", abstractions=8, per_abstraction=1, plain=0),
    _measure("the best of 20 plain solutions", "self_consistency", oracle=True, n=20),
    _measure("a vote of 20 plain solutions", "self_consistency", n=20),
)
"""One abstraction is the mean over abstractions; 8 of them with a solution each cost 20 plain solutions in tokens."""
