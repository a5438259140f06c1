"""`python -m benchmarks.harnesses.problems` writes `countdown.jsonl`, in the form that all of the harnesses can read.

Rule: the file is what the task `countdown` says, which a test compares.
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.tasks import countdown

FILE = Path(__file__).parent / "countdown.jsonl"
COUNT = 20


def render() -> str:
    """Hard held-out problems, a line each."""
    chosen = countdown.problems("hard", "test", COUNT)
    lines = ({"prompt": problem.question, "numbers": problem.numbers, "target": problem.target} for problem in chosen)
    return "".join(f"{json.dumps(line)}\n" for line in lines)


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
