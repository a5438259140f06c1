"""Supervised start from scratch: imitate the Countdown teacher, rendered with the decoders' own prompts.

`yes`, the one token that decides a claim, weighs 4 in the loss of `training.supervised`.
Expected: `longthink train sft --set seed=1` takes under 30 minutes on two CPU cores, RC then solves
over 85 % of the hard problems in 32 turns (docs/results.md has the figures of three seeds).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from decoders.prompts import Pack
from training import tiny
from training.supervised import Batch, Encoder, Settings, card, fit
from training.teachers.rows import DEPTHS, CountdownRows


class Config(Settings):
    """Settings of the recipe."""

    output: Path = Path("runs/longthink-tiny")
    """Folder of the checkpoint."""
    steps: int = 4500
    """Optimiser steps."""
    turns: int = 20
    """Reasoning turns with their summaries in a batch."""
    checks: int = 16
    """Claims to check in a batch."""
    hints: int = 6
    """Hints to propose in a batch."""
    depths: tuple[float, float, float] = DEPTHS
    """How often a search in a batch begins fresh, after one turn, after two."""
    yes_weight: float = 4.0
    """Weight of the token `yes` in the loss."""


def batches(config: Config) -> Iterator[list[Batch]]:
    """Endless steps, each of one update: long rows and short ones."""
    rows = CountdownRows(Pack.load("tiny"), config.seed, config.depths)
    encoder = Encoder(tiny.tokenizer(), {"yes": config.yes_weight})
    while True:
        turns = [rows.turn() for _ in range(config.turns)]
        short = [rows.check() for _ in range(config.checks)] + [rows.hint() for _ in range(config.hints)]
        yield encoder.batches("turn", turns, 3) + encoder.batches("short", short, 1)


def train(config: Config) -> Path:
    """Train, write the checkpoint and return its folder."""
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(True)
    net = tiny.model(config.seed, width=config.width, layers=config.layers, feed_forward=config.feed_forward)
    last = fit(net, batches(config), config)
    about = (
        "A Qwen3-architecture model that plays Countdown through the decoders of longthink. Trained from scratch by\n\n"
        f"    longthink train sft --set seed={config.seed}\n\n"
        "on problems whose held-out hash (`benchmarks/tasks/countdown.py`) puts them into the training split."
    )
    text = card("longthink-tiny", about, config, last)
    tiny.save(net, config.output, pack="tiny", temperature=config.temperature, card=text)
    return config.output
