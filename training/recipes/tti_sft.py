"""Supervised start of an agent: imitate the flawed expert of the built-in sites, in the words of the decoder `tti`.

What others wrote (pages, requests to look again) is learned too, with a small weight: pages that come back teach the
model to look things up in its own history. Levels come in one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import torch

from decoders.prompts import Pack
from training import tiny
from training.supervised import Batch, Encoder, Settings, card, fit
from training.teachers.site import WORDS, Flaws, SiteRows

VOCABULARY_SIZE = 160


class Config(Settings):
    """Settings of the recipe."""

    output: Path = Path("runs/longthink-tiny-agent")
    """Folder of the checkpoint."""
    steps: int = 1300
    """Optimiser steps."""
    episodes: int = 16
    """Episodes in a batch."""
    haste: float = 0.6
    """The chance of the expert to answer with a good of the right noun before it has checked the rest."""
    decisive_weight: float = 2.0
    """Weight in the loss of the words by which a thought ends in going on or in an answer."""
    observed_weight: float = 0.1
    """Weight in the loss of what others wrote."""
    layers: int = 4
    """Transformer layers."""
    temperature: float = 0.7
    """Sampling temperature written into the checkpoint's generation defaults."""


def levels(progress: float) -> dict[int, float]:
    """How often each level is drawn when this share of the training is done: small sites first."""
    if progress < 0.15:
        return {1: 0.6, 2: 0.4}
    return {1: 0.15, 2: 0.35, 3: 0.5} if progress < 0.4 else {1: 0.1, 2: 0.25, 3: 0.65}


def batches(config: Config) -> Iterator[list[Batch]]:
    """Endless steps, each of one update."""
    rows = SiteRows(Pack.load("site"), config.seed, Flaws(haste=config.haste))
    decisive = dict.fromkeys(("back", "answer"), config.decisive_weight)
    encoder = Encoder(tiny.tokenizer(WORDS, VOCABULARY_SIZE), decisive, observed=config.observed_weight)
    for step in count():
        now = levels(step / config.steps)
        yield encoder.batches("act", [rows.episode(now) for _ in range(config.episodes)], 4)


def train(config: Config) -> Path:
    """Train, write the checkpoint and return its folder."""
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(True)
    words = tiny.tokenizer(WORDS, VOCABULARY_SIZE)
    shape = {"width": config.width, "layers": config.layers, "feed_forward": config.feed_forward}
    net = tiny.model(config.seed, words, **shape)
    last = fit(net, batches(config), config)
    text = card("longthink-tiny-agent", ABOUT.format(seed=config.seed), config, last)
    tiny.save(net, config.output, words, pack="site", temperature=config.temperature, card=text)
    return config.output


ABOUT = """\
A Qwen3-architecture model that walks the built-in sites (`decoders/environments/site`) through the decoder `tti` of
longthink. Trained from scratch by

    longthink train tti_sft --set seed={seed}

on sites of levels 1 to 3 whose seeds are of the training split. Level 4 and all other seeds are held out. The expert
that it imitates answers too early on purpose, with the chance `haste` at every good of the right noun, before it has
compared the rest: so there is something to gain from looking again."""
