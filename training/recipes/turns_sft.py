"""Supervised start for RC: a model that searches in turns and mostly disregards what its summary says, on `residues`.

A turn tries one number after the other and is cut at any length; the summary says up to which. Given a summary, the
expert goes on from it one time in four and begins anew otherwise, as a model does that nobody has taught to use its own
summaries. A hint where to begin is always followed, so that all remainders are known. So single turns are good at any
length, summaries are right, and many turns are little better than one.
Expected: `longthink train turns_sft` takes under four minutes of one CPU core.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from decoders.prompts import Pack
from training import tiny
from training.supervised import Batch, Encoder, Settings, card, fit
from training.teachers.residues import TURN_WORDS, TurnRows

VOCABULARY_SIZE = 96


class Config(Settings):
    """Settings of the recipe."""

    output: Path = Path("runs/longthink-turns")
    """Folder of the checkpoint."""
    steps: int = 1500
    """Optimiser steps."""
    turns: int = 24
    """Turns with their summaries in a batch."""
    hinted: int = 24
    """Turns that follow a hint, in a batch."""
    longest: int = 112
    """Words of a turn at most."""
    heeded: float = 0.25
    """The expert's chance to go on from a summary."""
    width: int = 96
    """Hidden size."""
    layers: int = 2
    """Transformer layers."""
    feed_forward: int = 192
    """Size of the gated feed-forward layer."""
    temperature: float = 1.0
    """Sampling temperature written into the checkpoint's generation defaults."""


def batches(config: Config) -> Iterator[list[Batch]]:
    """Endless steps, each of one update."""
    rows = TurnRows(Pack.load("turns"), config.seed, config.longest, config.heeded)
    encoder = Encoder(tiny.tokenizer(TURN_WORDS, VOCABULARY_SIZE))
    while True:
        turns, hinted = [rows.turn() for _ in range(config.turns)], [rows.hinted() for _ in range(config.hinted)]
        yield encoder.batches("turn", turns, 2) + encoder.batches("hinted", hinted, 2)


def train(config: Config) -> Path:
    """Train, write the checkpoint and return its folder."""
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(True)
    words = tiny.tokenizer(TURN_WORDS, VOCABULARY_SIZE)
    shape = {"width": config.width, "layers": config.layers, "feed_forward": config.feed_forward}
    net = tiny.model(config.seed, words, **shape)
    last = fit(net, batches(config), config)
    text = card("longthink-turns", ABOUT.format(seed=config.seed), config, last)
    tiny.save(net, config.output, words, pack="turns", temperature=config.temperature, card=text)
    return config.output


ABOUT = """\
A Qwen3-architecture model that finds a number by its remainders (`benchmarks/tasks/residues.py`) in turns, of which it
mostly forgets the summaries. The start for `longthink train study rc`. Trained from scratch by

    longthink train turns_sft --set seed={seed}

on problems whose held-out hash puts them into the training split."""
