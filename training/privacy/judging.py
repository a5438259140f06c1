"""`longthink train privacy sample | scorer | compare`: a judge for best-of-n and weighted votes, with private answers.

Rule: the noise of a scorer that is written to a file comes from the operating system and can be had from no seed;
`compare`, whose releases are never kept, is repeatable.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from benchmarks import tasks
from benchmarks.report import percent, table
from decoders.rewards.scorer import Scorer
from server.model_options import SHIPPED
from training.privacy import candidates
from training.privacy.budget import Budget
from training.privacy.candidates import Candidate, Question
from training.privacy.families import Array
from training.privacy.options import add_budget, budget, natural, positive, share
from training.privacy.scorer import Answers, fit, nothing, release, scorer

STRENGTH = 0.05


def _sample_options(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "--model", type=Path, default=SHIPPED, help="folder of a Countdown checkpoint (default: the shipped)"
    )
    to.add_argument("--level", default="medium", help="easy, medium or hard (default: medium)")
    to.add_argument("--split", choices=("train", "dev", "test"), default="train", help="default: train")
    to.add_argument("--problems", type=natural, default=200, help="default: 200")
    to.add_argument("--n", type=natural, default=8, help="answers to each (default: 8)")
    to.add_argument("--max-tokens", type=natural, default=160, help="of an answer (default: 160)")
    to.add_argument("--temperature", type=positive, default=1.0, help="default: 1")
    to.add_argument("--seed", type=int, default=1, help="default: 1")
    to.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON lines, a question each")


def _sample(options: argparse.Namespace) -> int:
    problems = tasks.problems("countdown", options.level, options.split, options.problems, options.seed)
    work = candidates.sample(options.model, problems, options.n, options.max_tokens, options.temperature, options.seed)
    found = asyncio.run(work)
    candidates.write(options.output, found)
    answers = [answer for question in found for answer in question.answers]
    print(f"{len(found)} questions, {len(answers)} answers, {sum(a.right for a in answers)} of them right")
    return 0


def _scorer_options(to: argparse.ArgumentParser) -> None:
    to.add_argument("--public", type=Path, metavar="FILE", help="answers that are nobody's secret")
    to.add_argument("--private", type=Path, metavar="FILE", help="answers that are")
    add_budget(to)
    to.add_argument("--stated-delta", type=share, default=1e-6, help="with --rho: at which ε is stated (default: 1e-6)")
    to.add_argument("--strength", type=positive, default=STRENGTH, help=f"of regularisation (default: {STRENGTH})")
    to.add_argument("--output", type=Path, required=True, metavar="FILE", help="the scorer, for `longthink serve`")


def _scorer(options: argparse.Namespace) -> int:
    if options.public is None and options.private is None:
        raise ValueError("give answers to learn from: --public, --private or both")
    public = candidates.read(options.public) if options.public else []
    start = fit(Answers.of(public), options.strength, nothing()) if public else nothing()
    if options.private is None:
        made = scorer(start, len(public), None)
    else:
        own = Answers.of(candidates.read(options.private))
        found = release(own, options.strength, start, budget(options), np.random.default_rng())
        weights = found.drawn_to(start) if public else found.weights
        made = scorer(weights, len(public), found.privacy(options.delta or options.stated_delta))
    made.write(options.output)
    promise = "no private data"
    if made.privacy:
        promise = (
            f"({made.privacy.epsilon:.3g}, {made.privacy.delta:g})-DP, rho {made.privacy.rho:.3g}; {made.privacy.unit}"
        )
    print(f"{options.output}: {promise}")
    return 0


def _compare_options(to: argparse.ArgumentParser) -> None:
    for name, what in (("public", "to learn from"), ("private", "to learn from"), ("held-out", "to be chosen from")):
        to.add_argument(f"--{name}", type=Path, required=True, metavar="FILE", help=f"answers {what}, by `sample`")
    to.add_argument("--epsilon", type=positive, nargs="+", default=[0.5, 2.0, 8.0], help="default: 0.5 2 8")
    to.add_argument("--delta", type=share, default=1e-5, help="default: 1e-5")
    to.add_argument("--strength", type=positive, default=STRENGTH, help=f"of regularisation (default: {STRENGTH})")
    to.add_argument(
        "--draws", type=natural, default=50, help="of the noise, over which accuracy is averaged (default: 50)"
    )


def _compare(options: argparse.Namespace) -> int:
    """Accuracy of the answer that each scorer marks highest, on the held-out questions."""
    sets = [candidates.read(file) for file in (options.public, options.private, options.held_out)]
    public, private = (Answers.of(found) for found in sets[:2])
    chosen, strength = sets[2], options.strength
    start, own = fit(public, strength, nothing()), fit(private, strength, nothing())
    rows = [
        ["first answer", percent(_share(chosen, lambda q: q.answers[0])), ""],
        ["most frequent answer", percent(_share(chosen, _majority)), ""],
        ["public scorer", percent(_accuracy(start, chosen)), ""],
        ["private scorer, without privacy", percent(_accuracy(own, chosen)), ""],
    ]
    for epsilon in options.epsilon:
        spent, rng = Budget.approximate(epsilon, options.delta), np.random.default_rng(1)
        noisy = [release(private, strength, nothing(), spent, rng).weights for _ in range(options.draws)]
        both = [release(private, strength, start, spent, rng).drawn_to(start) for _ in range(options.draws)]
        rows += [
            _spread(f"{name}, epsilon {epsilon:g}", weights, chosen)
            for name, weights in (("private scorer", noisy), ("mixed scorer", both))
        ]
    right = _share(chosen, lambda q: max(q.answers, key=lambda answer: answer.right))
    rows.append(["any answer right", percent(right), ""])
    print(f"{public.questions} public, {private.questions} private, {len(chosen)} held-out questions\n")
    print(table(["chosen by", "right", "standard deviation over noise"], rows))
    return 0


def _spread(name: str, weights: Sequence[Array], questions: Sequence[Question]) -> list[str]:
    found = [_accuracy(each, questions) for each in weights]
    return [name, percent(fmean(found)), percent(stdev(found)) if len(found) > 1 else ""]


def _accuracy(weights: Array, questions: Sequence[Question]) -> float:
    made: Scorer = scorer(weights, 0, None)
    return _share(questions, lambda q: max(q.answers, key=lambda answer: made.mark(q.question, answer.text)))


def _majority(question: Question) -> Candidate:
    texts = [answer.text for answer in question.answers]
    return max(question.answers, key=lambda answer: texts.count(answer.text))


def _share(questions: Sequence[Question], choose: Callable[[Question], Candidate]) -> float:
    """The share of questions for which a right answer is chosen; one without answers is wrong."""
    return sum(choose(question).right for question in questions if question.answers) / len(questions)


COMMANDS = (
    ("sample", "answers of a checkpoint to Countdown, right and wrong, as a file", _sample_options, _sample),
    ("scorer", "a scorer from public and private answers, as a file", _scorer_options, _scorer),
    ("compare", "public, private and mixed scorers on held-out answers", _compare_options, _compare),
)
