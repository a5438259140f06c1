"""Settings of recipes that reinforce. Rule: one model of the settings, of presets, files and the command line alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, PlainSerializer

from decoders.environments.options import BuiltinOptions, EnvironmentOptions

CHECKPOINTS = Path(__file__).parent.parent / "server" / "checkpoints"
SHIPPED = CHECKPOINTS / "longthink-tiny"
AGENT = CHECKPOINTS / "longthink-tiny-agent"


def _found(path: Path) -> Path:
    shipped = CHECKPOINTS / path
    return shipped if len(path.parts) == 1 and shipped.is_dir() else path


def _named(path: Path) -> str:
    return path.name if path.parent == CHECKPOINTS else str(path)


Start = Annotated[Path, AfterValidator(_found), PlainSerializer(_named)]
"""A checkpoint's folder, or the name of one that is shipped; written down as the name, so that it holds elsewhere."""


class OtherRun(ValueError):
    """The folder of a run has one of other settings, which this one cannot go on from."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)


class Loss(_Section):
    """The choices of the GRPO family."""

    advantage: Literal["centred", "normalised", "left_out"] = "normalised"
    """A group's rewards minus their mean; divided by their standard deviation; minus the mean of the others."""
    mean: Literal["token", "sequence", "constant"] = "token"
    """Over all tokens of a batch (DAPO), of a row and then over rows (GRPO), or over rows times the longest allowed
    completion (Dr. GRPO)."""
    clip_low: float = Field(default=0.2, ge=0)
    """The importance ratio counts down to 1 - this."""
    clip_high: float = Field(default=0.28, ge=0)
    """And up to 1 + this."""
    dual_clip: float | None = Field(default=None, gt=1)
    """Where the advantage is negative, the ratio counts at most as this."""
    kl: float = Field(default=0.0, ge=0)
    """Weight of the divergence from the start checkpoint."""
    kl_estimator: Literal["k3", "unbiased", "k1"] = "k3"
    """`k3`, of low variance, is added to the loss; `unbiased` is k3 times the importance ratio (DeepSeek-V3.2); `k1`,
    log p - log p_start, is taken off each token's advantage."""
    entropy: float = 0.0
    """Weight of the entropy bonus."""
    negatives: Literal["keep", "mask", "no_end"] = "keep"
    """Of rows with a negative advantage: keep them, take it for 0, or keep all but their end token."""
    idle: Literal["keep", "drop"] = "keep"
    """Rows of advantage 0: they count in means, and in the terms of KL and entropy, or are left out with their cost."""
    overlong: Literal["keep", "mask"] = "keep"
    """Completions that were cut by their limit: they count as they are rewarded, or not at all."""


class Evaluation(_Section):
    """One measurement of the policy, by a served decoder."""

    name: str
    task: str = "countdown"
    level: str = "hard"
    split: Literal["train", "dev", "test"] = "dev"
    """Held out; or `train`, for whether problems are solved that were trained on."""
    problems: int = Field(default=64, ge=1)
    decoder: dict[str, JsonValue] = {"name": "direct"}
    """As in a request."""
    max_completion_tokens: int = Field(default=4096, ge=1)
    """The purse of a problem."""
    oracle: bool = False
    """Whether any solution that is right counts, and not the one that the decoder returns: no server can do this."""
    temperature: float | None = Field(default=None, ge=0)
    """Instead of the checkpoint's own."""
    seed: int = 0


class Reinforcement(_Section):
    """Settings of every recipe that samples and reinforces; a recipe adds its own fields."""

    seed: int = 1
    """Fixes the run to the last bit on one machine."""
    model: Start = SHIPPED
    """The checkpoint to start from: a folder, or the name of one that is shipped."""
    output: Path
    """Folder of the run: `metrics.jsonl`, `checkpoints/`, and in the end the model itself."""
    steps: int = Field(default=100, ge=1)
    """Batches of episodes."""
    batch: int = Field(default=8, ge=1)
    """Problems in a batch."""
    group: int = Field(default=8, ge=1)
    """Samples of one prompt."""
    temperature: float = Field(default=1.0, gt=0)
    """Of sampling in training."""
    rank: int = Field(default=0, ge=0)
    """Of LoRA adapters that are trained in place of the weights, on all linear layers; 0 trains the weights."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Peak of AdamW."""
    warmup: int = Field(default=5, ge=0)
    """Steps of linear warm-up; the rate is constant afterwards."""
    weight_decay: float = 0.0
    clip_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm."""
    updates: int = Field(default=1, ge=1)
    """Optimiser steps made of one batch; with more than one the importance ratio and its clips matter."""
    parts: int = Field(default=4, ge=1)
    """Micro-batches of one optimiser step, rows of similar length together."""
    max_length: int = Field(default=512, ge=1)
    """Tokens of the longest allowed completion, for `loss.mean = "constant"`."""
    loss: Loss = Loss()
    environments: dict[str, EnvironmentOptions] = {"site": BuiltinOptions(kind="builtin", max_concurrent=4096)}
    """What agents act in, by name, configured as for the server."""
    engine: Literal["inline", "vllm", "vllm-server", "tinker"] = "inline"
    """Where samples come from: the policy itself in this process, vLLM beside it, or vLLM servers. With `tinker` a
    service behind the Tinker API both samples and trains."""
    engine_options: dict[str, Any] = {}
    """What the engine wants to know besides, see docs/training.md."""
    evaluations: tuple[Evaluation, ...] = ()
    """Measured every `evaluate_every` steps, before the first and after the last."""
    evaluate_every: int = Field(default=0, ge=0)
    """0 measures at the beginning and at the end only."""
    evaluate_start: bool = True
    """Whether to measure before the first step; of several runs from one checkpoint a single one needs to."""
    save_every: int = Field(default=50, ge=1)
    """Steps between checkpoints; a killed run goes on from the last one."""
    device: Literal["cpu", "cuda", "auto"] = "auto"
    threads: int = Field(default=1, ge=1)
    """CPU threads of torch."""
    save_memory: bool = False
    """Compute activations again in the backward pass instead of keeping them."""
    trackers: tuple[Literal["tensorboard", "trackio"], ...] = ()
    """Where metrics go besides `metrics.jsonl`."""
