"""From rows to the tensors that TRL's loss reads. Rule: every choice of the loss that is about rows is made here."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch

from training.rows import Row
from training.settings import Loss

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Shape:
    """`updates` optimiser steps of `parts` micro-batches each; `ends` are the ids that end a completion."""

    updates: int
    parts: int
    ends: frozenset[int]
    padding: int

    @property
    def pieces(self) -> int:
        """Micro-batches in all."""
        return self.updates * self.parts

    @property
    def idle(self) -> Row:
        """A row that trains nothing."""
        return Row((self.padding,), (next(iter(self.ends), self.padding),), mask=(0,))


def chosen(rows: Iterable[Row], loss: Loss, ends: Collection[int]) -> list[Row]:
    """The rows as the loss wants them: what becomes of wrong ones and of those that were cut."""
    found = []
    for row in rows:
        if loss.idle == "drop" and row.advantage == 0:
            continue
        negative = isinstance(row.advantage, float | int) and row.advantage < 0
        cut = row.completion[-1] not in ends
        if cut and loss.overlong == "mask":
            row = replace(row, mask=(0,) * len(row.completion))
        if negative and loss.negatives == "mask":
            row = replace(row, advantage=0.0)  # its tokens still count where the loss is divided by their number
        elif negative and not cut and loss.negatives == "no_end":
            row = replace(row, mask=(*(row.mask or (1,) * len(row.completion))[:-1], 0))
        found.append(row)
    return found


def moving(rows: Sequence[Row], loss: Loss) -> list[Row]:
    """Without those whose gradient is zero, which need not be computed: groups in which every sample is worth the same.

    The loss is still divided by all rows.
    """
    if loss.kl or loss.entropy:
        return list(rows)
    return [row for row in rows if row.moves]


def divide(rows: Sequence[Row], shape: Shape, seed: str) -> list[list[Row]]:
    """The micro-batches: rows by chance to updates, and within one by length, so that little is padded.

    Every process must have the same number of micro-batches, so an empty one gets a row that trains nothing.
    """
    mixed = list(rows)
    if shape.updates > 1:
        random.Random(seed).shuffle(mixed)
    pieces: list[list[Row]] = []
    for update in range(shape.updates):
        own = sorted(mixed[update :: shape.updates], key=lambda row: len(row.prompt) + len(row.completion))
        cuts = [len(own) * part // shape.parts for part in range(shape.parts + 1)]
        pieces += [own[begin:end] for begin, end in pairwise(cuts)]
    return [piece or [shape.idle] for piece in pieces]


def tensors(rows: Sequence[Row], padding: int) -> Tensors:
    """Prompts padded on the left, completions on the right: what is `[rows, length]` for TRL's `_compute_loss`.

    `advantages` are [rows, completion length], so that each token has its own.
    """
    width, length = (max(map(len, ids)) for ids in ([r.prompt for r in rows], [r.completion for r in rows]))
    prompts = torch.full((len(rows), width), padding)
    completions = torch.full((len(rows), length), padding)
    asked, told, trained = torch.zeros_like(prompts), torch.zeros_like(completions), torch.zeros_like(completions)
    advantages, logprobs = torch.zeros(len(rows), length), torch.full((len(rows), length), torch.nan)
    for i, row in enumerate(rows):
        size, begin = len(row.completion), width - len(row.prompt)
        prompts[i, begin:], asked[i, begin:] = torch.tensor(row.prompt), 1
        completions[i, :size], told[i, :size] = torch.tensor(row.completion), 1
        trained[i, :size] = 1 if row.mask is None else torch.tensor(row.mask)
        advantages[i, :size] = torch.tensor(row.advantage)
        if row.logprobs is not None:
            logprobs[i, :size] = torch.tensor(row.logprobs)
    return {
        "prompt_ids": prompts,
        "prompt_mask": asked,
        "completion_ids": completions,
        "completion_mask": told,
        "tool_mask": trained,
        "advantages": advantages,
        "sampled_logps": logprobs,
    }
