"""Supervised start for e3: a model that checks a number well and gives up soon, on the task `residues`.

Short chains teach what to do: guess, check, and after a few attempts answer. Long ones teach only to check far behind
the problem: in them the words that decide between going on and giving up, `try` and `</think>`, have no weight. So the
start verifies better than it generates, at every length, and has never been shown how to go on.
Expected: `longthink train residues_sft` takes under four minutes of one CPU core. `python -m training.residue_skills`
then finds over 99 % of remainders and of verdicts right, and nine of ten hard problems given up.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from pydantic import Field

from decoders.prompts import Pack
from training import tiny
from training.supervised import Batch, Encoder, Settings, card, fit
from training.teachers.residues import WORDS, Habits, ResidueRows

VOCABULARY_SIZE = 96


class Config(Settings):
    """Settings of the recipe."""

    output: Path = Path("runs/longthink-residues")
    """Folder of the checkpoint."""
    steps: int = 2000
    """Optimiser steps."""
    short: int = 24
    """Chains to imitate in a batch."""
    long: int = 5
    """Chains in which only the checks are learned, in a batch."""
    give_up: float = 0.25
    """The expert's chance to give up after each wrong attempt."""
    fitting: float = Field(default=0.0, ge=0, le=1)
    """The expert's chance to guess a number that has the first remainder."""
    rambling: float = Field(default=0.0, ge=0, lt=1)
    """The expert's chance to try the number again that was just found wrong."""
    longest: int = 512
    """Words of a long chain at most."""
    verdict_weight: float = 3.0
    """Weight of `ok` and `no` in the loss."""
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
    rows = ResidueRows(Pack.load("residues"), config.seed, habits=Habits(config.fitting, config.rambling))
    words = tiny.tokenizer(WORDS, VOCABULARY_SIZE)
    verdicts = dict.fromkeys(("ok", "no"), config.verdict_weight)
    imitated, checked = Encoder(words, verdicts), Encoder(words, {**verdicts, "try": 0.0, tiny.END_THINK: 0.0})
    while True:
        short = [rows.short(config.give_up) for _ in range(config.short)]
        long = [rows.long(config.longest) for _ in range(config.long)]
        yield imitated.batches("short", short, 2) + checked.batches("long", long, 2)


def train(config: Config) -> Path:
    """Train, write the checkpoint and return its folder."""
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(True)
    words = tiny.tokenizer(WORDS, VOCABULARY_SIZE)
    shape = {"width": config.width, "layers": config.layers, "feed_forward": config.feed_forward}
    net = tiny.model(config.seed, words, **shape)
    last = fit(net, batches(config), config)
    text = card("longthink-residues", ABOUT.format(seed=config.seed), config, last)
    tiny.save(net, config.output, words, pack="residues", temperature=config.temperature, card=text)
    return config.output


ABOUT = """\
A Qwen3-architecture model that finds a number by its remainders (`benchmarks/tasks/residues.py`): it guesses, checks
and gives up after a few attempts. The start for `longthink train e3`. Trained from scratch by

    longthink train residues_sft --set seed={seed}

on problems whose held-out hash puts them into the training split."""
