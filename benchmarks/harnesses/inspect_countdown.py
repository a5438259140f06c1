"""The task `countdown` for inspect_ai: `inspect eval benchmarks/harnesses/inspect_countdown.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import Sample, json_dataset
from inspect_ai.scorer import CORRECT, INCORRECT, Score, Scorer, Target, accuracy, scorer, stderr
from inspect_ai.solver import TaskState

from decoders.rewards.countdown import explain

FILE = Path(__file__).parent / "countdown.jsonl"


def sample(line: dict[str, Any]) -> Sample:
    """A line of the file."""
    return Sample(line["prompt"], target=str(line["target"]), metadata={"numbers": line["numbers"]})


@scorer(metrics=[accuracy(), stderr()])
def rules() -> Scorer:
    """Right by the rules of Countdown; the log says what is wrong with an answer that is not."""

    async def score(state: TaskState, target: Target) -> Score:
        answer = state.output.completion
        wrong = explain(state.metadata["numbers"], int(target.text), answer)
        return Score(value=INCORRECT if wrong else CORRECT, answer=answer, explanation=wrong)

    return score


@task
def countdown() -> Task:
    """Twenty hard problems, each asked once."""
    return Task(dataset=json_dataset(str(FILE), sample), scorer=rules())
