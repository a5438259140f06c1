"""A linear scorer, trained on public answers, on private ones, or on both; the private ones by output perturbation.

The private fit is the minimiser of mean_q loss_q(β) + λ/2 |β - β₀|², loss_q the mean logistic loss of the answers to
the question q, whose gradient has the norm `BOUND` at most. It is λ-strongly convex, and another question in the place
of one moves the mean gradient by 2 BOUND / n at most, so the minimiser by 2 BOUND / (nλ) (Chaudhuri, Monteleoni and
Sarwate 2011). It is released once, with Gaussian noise for that: all accounting is one μ.

With public data, β₀ is the public fit, and the release is drawn back to it by the share of |β - β₀|² that the noise
explains: the planner's weight A/(A + B) of the public estimate, A + B read off the release, which costs no privacy.
Rule: whatever leaves `release` is noisy, and nothing else looks at private data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.random import Generator

from decoders.rewards.features import NAMES, features
from decoders.rewards.scorer import Privacy, Scorer
from training.privacy.budget import Budget
from training.privacy.candidates import Question
from training.privacy.families import Array

BOUND = sqrt(1 + len(NAMES) / 4)
"""Of a row: 1 for the bias, and features from 0 to 1, each less a half."""
TOLERANCE = 1e-9
"""The norm of the gradient at what counts as the minimiser: what is left of it is part of the sensitivity."""
MECHANISM = "output perturbation of regularised logistic regression, one release"
UNIT = "a question with all of its answers, replaced by another one"


@dataclass(frozen=True, slots=True)
class Answers:
    """All answers to some questions as rows, and what each one's loss counts."""

    rows: Array
    right: Array
    weights: Array
    questions: int

    @classmethod
    def of(cls, questions: Sequence[Question]) -> Answers:
        """Every question counts alike, however many answers it has."""
        rows = [_row(q.question, answer.text) for q in questions for answer in q.answers]
        right = [answer.right for q in questions for answer in q.answers]
        weights = [1 / len(q.answers) / len(questions) for q in questions for _ in q.answers]
        shape = (len(rows), 1 + len(NAMES))
        return cls(np.reshape(rows, shape), np.array(right, float), np.array(weights), len(questions))


def fit(answers: Answers, strength: float, centre: Array) -> Array:
    """The minimiser, by Newton's method with halved steps; `ValueError` where it does not come to it."""
    weights = centre.copy()
    for _ in range(100):
        chances = _logistic(answers.rows @ weights)
        gradient = answers.rows.T @ (answers.weights * (chances - answers.right)) + strength * (weights - centre)
        if np.linalg.norm(gradient) <= TOLERANCE:
            return weights
        curvature = answers.weights * chances * (1 - chances)
        step = np.linalg.solve((answers.rows.T * curvature) @ answers.rows + strength * np.eye(len(weights)), gradient)
        before, size = _loss(answers, weights, strength, centre), 1.0
        while (
            size > 1e-6
            and _loss(answers, weights - size * step, strength, centre) > before - size / 4 * (step @ gradient) + 1e-12
        ):
            size /= 2
        weights = weights - size * step
    raise ValueError("the fit does not converge: a larger --strength makes it easier")


def sensitivity(questions: int, strength: float) -> float:
    """How far another question in the place of one moves the fit at most."""
    return (2 * BOUND / questions + 2 * TOLERANCE) / strength


@dataclass(frozen=True, slots=True)
class Release:
    """A private fit with noise, and the noise's standard deviation in each weight."""

    weights: Array
    noise: float
    budget: Budget
    questions: int

    def privacy(self, delta: float) -> Privacy:
        """What it promises, with ε told at this δ."""
        return Privacy(
            mechanism=MECHANISM,
            unit=UNIT,
            mu=self.budget.mu,
            rho=self.budget.rho,
            epsilon=self.budget.epsilon(delta),
            delta=delta,
            noise=self.noise,
            private=self.questions,
        )

    def drawn_to(self, public: Array) -> Array:
        """The mixture of the public fit and this one."""
        gap = self.weights - public
        share = min(1.0, len(public) * self.noise**2 / max(float(gap @ gap), 1e-300))
        return share * public + (1 - share) * self.weights


def release(answers: Answers, strength: float, centre: Array, budget: Budget, rng: Generator) -> Release:
    """The private fit with the noise that its sensitivity needs."""
    noise = budget.noise(sensitivity(answers.questions, strength))
    exact = fit(answers, strength, centre)
    return Release(exact + rng.normal(0.0, noise, len(exact)), noise, budget, answers.questions)


def scorer(weights: Array, public: int, privacy: Privacy | None) -> Scorer:
    """The file's form: weights of the features as they are, not less a half."""
    bias, *own = map(float, weights)
    return Scorer(bias=bias - sum(own) / 2, weights=dict(zip(NAMES, own, strict=True)), public=public, privacy=privacy)


def nothing() -> Array:
    """Weights that know nothing: where a fit without public data starts."""
    return np.zeros(1 + len(NAMES))


def _row(question: str, answer: str) -> list[float]:
    found = features(question, answer)
    return [1.0, *(found[name] - 0.5 for name in NAMES)]


def _logistic(scores: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(scores, -500, 500))))


def _loss(answers: Answers, weights: Array, strength: float, centre: Array) -> float:
    scores = answers.rows @ weights
    losses = np.logaddexp(0, scores) - answers.right * scores
    return float(answers.weights @ losses + strength / 2 * ((weights - centre) ** 2).sum())
