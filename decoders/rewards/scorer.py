"""A linear scorer: how likely an answer is right, from its features. One JSON file, with what it discloses of whom.

Rule: a file whose features are not those of this version is refused, and so is one that says nothing about privacy.
"""

from __future__ import annotations

from math import exp
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from decoders.rewards.features import NAMES, features


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Privacy(_Part):
    """What was promised to those whose data were used: (ε, δ) and ρ are two readings of one μ of Gaussian DP."""

    mechanism: str
    """How noise was added."""
    unit: str
    """Whose data may be replaced by other data without much of a difference."""
    mu: float = Field(gt=0)
    rho: float = Field(gt=0)
    epsilon: float = Field(gt=0)
    delta: float = Field(gt=0, lt=1)
    noise: float = Field(gt=0)
    """Standard deviation of the noise in each weight."""
    private: int = Field(ge=1)
    """How many such units there were; this number is public."""


class Scorer(_Part):
    """σ(bias + Σ weight · feature), σ the logistic function."""

    format: Literal["longthink-scorer/1"] = "longthink-scorer/1"
    bias: float = Field(allow_inf_nan=False)
    weights: dict[str, float]
    public: int = Field(ge=0)
    """Questions in the public data that it has learned from."""
    privacy: Privacy | None
    """None for a scorer that has seen no private data."""

    def mark(self, question: str, answer: str) -> float:
        """How likely the answer is right, 0 to 1."""
        found = features(question, answer)
        score = self.bias + sum(self.weights[name] * value for name, value in found.items())
        return 1 / (1 + exp(-max(min(score, 500.0), -500.0)))

    def write(self, file: Path) -> None:
        """The file that `read` reads."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read(file: Path) -> Scorer:
    """The scorer in a file; `ValueError` where it is none, or one for other features."""
    try:
        found = Scorer.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise ValueError(f"{file} is no scorer: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}") from error
    if set(found.weights) != set(NAMES):
        odd = ", ".join(sorted(set(found.weights) ^ set(NAMES)))
        raise ValueError(f"{file} is a scorer for other features than this version's: {odd}")
    return found
