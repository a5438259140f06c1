"""Supervised start for RLAD: abstractions that are diverse and seldom fit, and a solver that follows any of them.

The paper has a stronger model write abstractions and imitates those; here an expert does that reads rules off the last
numbers of a sequence (`training.teachers.sequences`). Expected: three minutes on one CPU core (180 s with seed 1). On
hard problems 83 % of the answers are then right under an abstraction that fits, 20 % under one of its own, and fewer
than 1 % without any.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from decoders.prompts import Pack
from training import tiny
from training.supervised import Batch, Encoder, Settings, card, fit
from training.teachers.sequences import WORDS, SequenceRows

NAME = "longthink-tiny-sequences"


class Config(Settings):
    """Settings of the recipe."""

    output: Path = Path(f"runs/{NAME}")
    """Folder of the checkpoint."""
    steps: int = 2000
    """Optimiser steps."""
    abstractions: int = 32
    """Abstractions to propose in a batch."""
    guided: int = 20
    """Problems to solve under an abstraction in a batch."""
    bare: int = 12
    """Easy problems to solve without one in a batch."""
    insight: float = 0.3
    """The chance that the expert has looked at the whole sequence before it says a rule."""
    width: int = 96
    """Hidden size."""
    feed_forward: int = 288
    """Size of the gated feed-forward layer."""
    temperature: float = 1.0
    """Sampling temperature written into the checkpoint's generation defaults."""


def batches(config: Config) -> Iterator[list[Batch]]:
    """Endless steps, each of one update."""
    rows = SequenceRows(Pack.load("sequences"), config.seed, config.insight)
    encoder = Encoder(tiny.tokenizer(WORDS))
    while True:
        guided = [rows.guided() for _ in range(config.guided)]
        yield (
            encoder.batches("abstract", [rows.abstract() for _ in range(config.abstractions)], 1)
            + encoder.batches("guided", guided, 1)
            + encoder.batches("bare", [rows.bare() for _ in range(config.bare)], 1)
        )


def train(config: Config) -> Path:
    """Train, write the checkpoint and return its folder."""
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(True)
    words = tiny.tokenizer(WORDS)
    net = tiny.model(config.seed, words, width=config.width, layers=config.layers, feed_forward=config.feed_forward)
    last = fit(net, batches(config), config)
    text = card(NAME, ABOUT.format(seed=config.seed), config, last)
    tiny.save(net, config.output, words, pack="sequences", temperature=config.temperature, card=text)
    return config.output


ABOUT = """\
A Qwen3-architecture model that continues sequences of numbers through the decoders of longthink. Trained from scratch
by

    longthink train sequences_sft --set seed={seed}

on problems whose held-out hash (`benchmarks/tasks/sequences.py`) puts them into the training split. It follows an
abstraction, but its own abstractions fit no better than chance: it is where `longthink train rlad` starts."""
