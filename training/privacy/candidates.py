"""Questions with several answers each, of which it is known whether they are right: what a scorer learns from.

A file has one question a line. Rule: whoever asked a question is one person for privacy, with all of its answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmarks.tasks import Problem
from decoders.core.messages import Sampling
from decoders.core.task import Model
from decoders.prompts import Pack
from server.engines.embedded import EmbeddedEngine
from training.play import POLICY, Play


class Candidate(BaseModel):
    """An answer and whether it is right."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    right: bool


class Question(BaseModel):
    """A question with the answers that were given to it; samples that came to no answer are not there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    question: str
    answers: tuple[Candidate, ...]


def read(file: Path) -> list[Question]:
    """The questions of a file; `ValueError` naming the line that is none."""
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            found.append(Question.model_validate_json(line))
        except ValidationError as error:
            raise ValueError(f"{file}, line {number}: {error.errors()[0]['msg']}") from error
    if not found:
        raise ValueError(f"{file} has no questions")
    return found


def write(file: Path, questions: Sequence[Question]) -> None:
    """The file that `read` reads."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(question.model_dump_json() + "\n" for question in questions), encoding="utf-8")


async def sample(
    model: Path, problems: Sequence[Problem], n: int, max_tokens: int, temperature: float, seed: int
) -> list[Question]:
    """Each Countdown problem answered n times by a checkpoint, as the decoders would have it answered."""
    engine = EmbeddedEngine(model, model=POLICY)
    await engine.start()
    try:
        play = Play({POLICY: Model(engine, Pack.load("tiny"))}, Sampling(1, temperature), 0, seed)
        decoder = play.decoder({"name": "self_consistency", "n": n, "max_tokens": max_tokens})

        async def one(problem: Problem) -> Question:
            played = await play.within(problem.id).decode(problem, decoder, n * max_tokens)
            answers = [step.completion.answer.strip() for step in played.steps("solve") if step.completion.answered]
            found = tuple(Candidate(text=answer, right=problem.check(answer)) for answer in answers)
            return Question(question=problem.question, answers=found)

        return list(await asyncio.gather(*map(one, problems)))
    finally:
        await engine.aclose()
