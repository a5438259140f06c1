"""Supervised start from scratch: imitate the Countdown teacher, rendered with the decoders' own prompts.

loss = Σ w·CE / Σ w over the tokens of assistant turns; `yes`, the one token that decides a claim, weighs 4.
Muon on matrices, AdamW on embeddings and norms; warm-up, flat, then linear decay to zero.
Expected: `longthink train sft --set seed=1` takes under 30 minutes on two CPU cores, RC then solves
over 85 % of the hard problems in 32 turns (docs/results.md has the figures of three seeds).
"""

from __future__ import annotations

import json
import time
from collections import Counter
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
    steps: int = 4500
    """Optimiser steps."""
    turns: int = 20
    """Reasoning turns with their summaries in a batch."""
    checks: int = 16
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
    temperature: float = 0.8
    """Sampling temperature written into the checkpoint's generation defaults."""
    threads: int = 1
    """CPU threads of torch."""


@dataclass(frozen=True)
class Batch:
    """Rows of one kind: token ids [rows, length], padded, and the loss weight of each token."""

    kind: str
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

    def batches(self, kind: str, rows: list[Row], parts: int) -> list[Batch]:
        """Rows sorted by length and cut into `parts`, each padded to its longest: less padding is 1.5 times faster."""
        encoded = sorted((self.row(row) for row in rows), key=lambda pair: len(pair[0]))
        size = -(-len(encoded) // parts)
        return [_pad(kind, encoded[i : i + size]) for i in range(0, len(encoded), size)]


def _pad(kind: str, encoded: list[tuple[list[int], list[float]]]) -> Batch:
    length = len(encoded[-1][0])
    ids = torch.tensor([ids + [0] * (length - len(ids)) for ids, _ in encoded])
    weights = torch.tensor([weights + [0.0] * (length - len(weights)) for _, weights in encoded])
    return Batch(kind, ids, weights)


def batches(config: Config) -> Iterator[list[Batch]]:
    """Endless steps, each of one update: long rows and short ones."""
    rows, encoder = CountdownRows(Pack.load("tiny"), config.seed), Encoder(config.yes_weight)
    while True:
        turns = [rows.turn() for _ in range(config.turns)]
        short = [rows.check() for _ in range(config.checks)] + [rows.hint() for _ in range(config.hints)]
        yield encoder.batches("turn", turns, 3) + encoder.batches("short", short, 1)


def rate(config: Config, step: int) -> float:
    """The share of the peak learning rate at `step`."""
    decay = (config.steps - step) / (config.steps * (1 - config.flat))
    return min(1.0, (step + 1) / config.warmup, decay)


def train(config: Config) -> Path:
    """Train, log metrics every 100 steps to `metrics.jsonl`, write the checkpoint and return its folder."""
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(True)
    net = tiny.model(config.seed, width=config.width, layers=config.layers, feed_forward=config.feed_forward)
    matrices = [p for n, p in net.named_parameters() if p.dim() == 2 and "embed" not in n]
    others = [p for n, p in net.named_parameters() if p.dim() != 2 or "embed" in n]
    adam = torch.optim.AdamW(others, config.vector_rate, (0.9, 0.98), weight_decay=0.0)
    optimizers = {config.matrix_rate: Muon(matrices, config.matrix_rate), config.vector_rate: adam}
    config.output.mkdir(parents=True, exist_ok=True)
    with Log(config.output / "metrics.jsonl") as log:
        for step, parts in zip(range(config.steps), batches(config), strict=False):
            for peak, optimizer in optimizers.items():
                for group in optimizer.param_groups:
                    group["lr"] = peak * rate(config, step)
            _update(net, parts, list(optimizers.values()), log)
            if (step + 1) % 100 == 0:
                log.write(step + 1)
    tiny.save(net, config.output, pack="tiny", temperature=config.temperature, card=_card(config, log))
    return config.output


class Log:
    """Sums of loss and weighted next-token accuracy between two lines of `metrics.jsonl`."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")
        self._sums: Counter[str] = Counter()
        self._started = time.time(), time.process_time()
        self.last: dict[str, float] = {}
        self.tokens = 0

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, batch: Batch, loss: torch.Tensor, logits: torch.Tensor) -> None:
        """Count one batch; `loss` is its sum, not its mean."""
        hits = (logits.argmax(-1) == batch.ids[:, 1:]) * batch.weights[:, 1:]
        for name, value in (("loss", loss), ("hits", hits.sum()), ("weight", batch.weights[:, 1:].sum())):
            self._sums[f"{batch.kind}_{name}"] += float(value)  # type: ignore[assignment]
        self.tokens += int((batch.ids != 0).sum())

    def write(self, step: int) -> None:
        """One line; times are in seconds since the start."""
        line: dict[str, float] = {"step": step}
        for kind in ("turn", "short"):
            weight = self._sums[f"{kind}_weight"] or 1
            line[f"{kind}_loss"] = round(self._sums[f"{kind}_loss"] / weight, 5)
            line[f"{kind}_accuracy"] = round(self._sums[f"{kind}_hits"] / weight, 5)
        wall, cpu = self._started
        line |= {"tokens": self.tokens, "seconds": round(time.time() - wall, 1)}
        line["cpu_seconds"] = round(time.process_time() - cpu, 1)
        self._sums.clear()
        self.last = line
        print(json.dumps(line), file=self._file, flush=True)
        print(json.dumps(line), flush=True)


def _update(net: torch.nn.Module, parts: list[Batch], optimizers: list[torch.optim.Optimizer], log: Log) -> None:
    """One optimiser step over all parts."""
    total = sum(float(part.weights[:, 1:].sum()) for part in parts)
    for part in parts:
        logits = net(input_ids=part.ids[:, :-1], use_cache=False).logits
        losses = F.cross_entropy(logits.transpose(1, 2), part.ids[:, 1:], reduction="none")
        loss = (losses * part.weights[:, 1:]).sum()
        torch.autograd.backward(loss / total)
        with torch.no_grad():
            log.add(part, loss.detach(), logits)
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()


def _card(config: Config, log: Log) -> str:
    """The model card: how the checkpoint was made."""
    settings = "\n".join(f"- {name}: {value}" for name, value in config.model_dump(mode="json").items())
    return f"""# longthink-tiny

A Qwen3-architecture model that plays Countdown through the decoders of longthink. Trained from scratch by

    longthink train sft --set seed={config.seed}

on problems whose held-out hash (`benchmarks/tasks/countdown.py`) puts them into the training split.

## Settings
{settings}

## End of training
{json.dumps(log.last)}
"""
