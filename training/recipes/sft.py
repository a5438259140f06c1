"""Supervised start from scratch: imitate the Countdown teacher, rendered with the decoders' own prompts.

loss = Σ w·CE / Σ w over the tokens of assistant turns; `yes`, the one token that decides a claim, weighs 4.
Muon on matrices, AdamW on embeddings and norms; warm-up, flat, then linear decay to zero.
Expected: `longthink train sft --set seed=1` takes under 30 minutes on two CPU cores (see docs/results.md).
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict

from decoders.prompts import Pack
from training import tiny
from training.muon import Muon
from training.teachers.rows import CountdownRows, Row


class Config(BaseModel):
    """Settings of the recipe; every field can be set with `--set name=value`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    seed: int = 1
    """Fixes initialisation and data."""
    output: Path = Path("runs/longthink-tiny")
    """Folder of the checkpoint."""
    steps: int = 4000
    """Optimiser steps."""
    turns: int = 20
    """Reasoning turns with their summaries in a batch."""
    checks: int = 10
    """Claims to check in a batch."""
    hints: int = 6
    """Hints to propose in a batch."""
    matrix_rate: float = 0.02
    """Peak learning rate of Muon."""
    vector_rate: float = 3e-3
    """Peak learning rate of AdamW."""
    warmup: int = 50
    """Steps of linear warm-up."""
    flat: float = 0.4
    """Share of the steps before the linear decay begins."""
    yes_weight: float = 4.0
    """Weight of the token `yes` in the loss."""
    width: int = 128
    """Hidden size."""
    layers: int = 3
    """Transformer layers."""
    feed_forward: int = 384
    """Size of the gated feed-forward layer."""
    temperature: float = 1.0
    """Sampling temperature written into the checkpoint's generation defaults."""
    threads: int = 2
    """CPU threads of torch."""


@dataclass(frozen=True)
class Batch:
    """Token ids [rows, length], padded, and the loss weight of each token."""

    ids: torch.Tensor
    weights: torch.Tensor


class Encoder:
    """Turns rows into batches: the chat template renders, the ids tell which tokens an assistant wrote."""

    def __init__(self, yes_weight: float) -> None:
        self._tokenizer = tiny.tokenizer()
        ids = self._tokenizer.convert_tokens_to_ids
        self._open, self._close, self._assistant = ids(tiny.OPEN), ids(tiny.CLOSE), ids("assistant")
        self._yes, self._yes_weight = ids("yes"), yes_weight

    def row(self, row: Row) -> tuple[list[int], list[float]]:
        """Ids and loss weights of one conversation."""
        messages = [{"role": m.role, "content": m.content} for m in row.messages]
        ids = self._tokenizer.apply_chat_template(messages, return_dict=False)
        weights, writing, closed = [], False, 0
        for before, token in zip([None, None, *ids], [None, *ids], strict=False):
            if token is None:
                continue
            weight = 0.0
            if writing:
                weight = self._yes_weight if token == self._yes else 1.0
                if token == self._close:
                    closed += 1
                    writing, weight = False, 0.0 if row.cut and closed == 1 else 1.0
            elif token == self._assistant and before == self._open:
                writing = True
            weights.append(weight)
        return list(ids), weights

    def batch(self, rows: list[Row]) -> Batch:
        """Rows padded to the longest of them."""
        encoded = [self.row(row) for row in rows]
        length = max(len(ids) for ids, _ in encoded)
        batch = Batch(torch.zeros(len(rows), length, dtype=torch.long), torch.zeros(len(rows), length))
        for i, (ids, weights) in enumerate(encoded):
            batch.ids[i, : len(ids)] = torch.tensor(ids)
            batch.weights[i, : len(ids)] = torch.tensor(weights)
        return batch


def batches(config: Config) -> Iterator[list[Batch]]:
    """Endless steps: one batch of long rows and one of short ones, so that little is padding."""
    rows, encoder = CountdownRows(Pack.load("tiny"), config.seed), Encoder(config.yes_weight)
    while True:
        long = [rows.turn() for _ in range(config.turns)]
        short = [rows.check() for _ in range(config.checks)] + [rows.hint() for _ in range(config.hints)]
        yield [encoder.batch(long), encoder.batch(short)]


def rate(config: Config, step: int) -> float:
    """The share of the peak learning rate at `step`."""
    decay = (config.steps - step) / (config.steps * (1 - config.flat))
    return min(1.0, (step + 1) / config.warmup, decay)


def train(config: Config) -> Path:
    """Train, log a line of metrics every 100 steps to `metrics.jsonl`, and write the checkpoint."""
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(True)
    random.seed(config.seed)
    net = tiny.model(config.seed, width=config.width, layers=config.layers, feed_forward=config.feed_forward)
    matrices = [p for n, p in net.named_parameters() if p.dim() == 2 and "embed" not in n]
    others = [p for n, p in net.named_parameters() if p.dim() != 2 or "embed" in n]
    optimizers = [Muon(matrices, config.matrix_rate), torch.optim.AdamW(others, config.vector_rate, (0.9, 0.98), weight_decay=0.0)]
    peaks = [config.matrix_rate, config.vector_rate]
    config.output.mkdir(parents=True, exist_ok=True)
    started, cpu, tokens, seen = time.time(), time.process_time(), 0, torch.zeros(3)
    with (config.output / "metrics.jsonl").open("w") as log:
        for step, parts in zip(range(config.steps), batches(config), strict=False):
            for optimizer, peak in zip(optimizers, peaks, strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = peak * rate(config, step)
            seen += _step(net, parts, optimizers)
            tokens += sum(int((part.ids != 0).sum()) for part in parts)
            if (step + 1) % 100 == 0:
                line = {
                    "step": step + 1, "loss": float(seen[0] / 100), "turn_accuracy": float(seen[1] / 100),
                    "short_accuracy": float(seen[2] / 100), "tokens": tokens,
                    "seconds": round(time.time() - started, 1), "cpu_seconds": round(time.process_time() - cpu, 1),
                }
                print(json.dumps(line), file=log, flush=True)
                print(json.dumps(line), flush=True)
                seen = torch.zeros(3)
    card = f"# longthink-tiny\n\nMade by `longthink train sft --set seed={config.seed}`.\n"
    tiny.save(net, config.output, pack="tiny", temperature=config.temperature, card=card)
    return config.output


def _step(net: torch.nn.Module, parts: list[Batch], optimizers: list[torch.optim.Optimizer]) -> torch.Tensor:
    """One update; returns loss and the weighted next-token accuracy of each part."""
    total = sum(float(part.weights[:, 1:].sum()) for part in parts)
    figures = [0.0]
    for part in parts:
        logits = net(input_ids=part.ids[:, :-1], use_cache=False).logits
        labels, weights = part.ids[:, 1:], part.weights[:, 1:]
        loss = (F.cross_entropy(logits.transpose(1, 2), labels, reduction="none") * weights).sum() / total
        loss.backward()
        figures[0] += float(loss.detach())
        with torch.no_grad():
            figures.append(float(((logits.argmax(-1) == labels) * weights).sum() / weights.sum()))
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return torch.tensor(figures)
