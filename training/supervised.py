"""What supervised recipes share: settings, rows as batches, the loop, the log and the model card.

loss = Σ w·CE / Σ w, w 1 for the tokens of assistant turns but where a recipe says otherwise. Muon on matrices, AdamW on
embeddings and norms; warm-up, flat, then linear decay to zero. Rule: one seed fixes the weights to the last bit.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from transformers import PreTrainedTokenizerFast

from training import tiny
from training.muon import Muon
from training.teachers.rows import Row


class Settings(BaseModel):
    """Settings of every supervised recipe; each field can be set with `--set name=value`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    seed: int = 1
    """Fixes initialisation and data."""
    output: Path
    """Folder of the checkpoint."""
    steps: int
    """Optimiser steps."""
    matrix_rate: float = 0.02
    """Peak learning rate of Muon."""
    vector_rate: float = 3e-3
    """Peak learning rate of AdamW."""
    warmup: int = 50
    """Steps of linear warm-up."""
    flat: float = 0.4
    """Share of the steps before the linear decay begins."""
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
    """Turns rows into batches: the chat template renders, the ids tell which tokens an assistant wrote.

    `weights` are those of words that matter more than others; `observed` is the weight of what others wrote.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, weights: Mapping[str, float] | None = None, observed: float = 0.0
    ) -> None:
        self._tokenizer = tokenizer
        ids = tokenizer.convert_tokens_to_ids
        self._open, self._close, self._assistant = ids(tiny.OPEN), ids(tiny.CLOSE), ids("assistant")
        self._weights = {ids(word): weight for word, weight in (weights or {}).items()}
        self._observed = observed

    def row(self, row: Row) -> tuple[list[int], list[float]]:
        """Ids and loss weights of one conversation."""
        messages = [{"role": m.role, "content": m.content} for m in row.messages]
        ids = self._tokenizer.apply_chat_template(messages, return_dict=False)
        weights, writing, closed = [], False, 0
        for before, token in zip([None, None, *ids], [None, *ids], strict=False):
            if token is None:
                continue
            weight = self._observed
            if writing:
                weight = 0.0 if closed in row.muted else self._weights.get(token, 1.0)
                if token == self._close:
                    closed += 1
                    writing, weight = False, 0.0 if row.cut and closed == 1 else min(weight, 1.0)
            elif token == self._assistant and before == self._open:
                writing, weight = True, 0.0
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


def rate(settings: Settings, step: int) -> float:
    """The share of the peak learning rate at `step`."""
    decay = (settings.steps - step) / (settings.steps * (1 - settings.flat))
    return min(1.0, (step + 1) / settings.warmup, decay)


def fit(net: torch.nn.Module, updates: Iterable[list[Batch]], settings: Settings) -> dict[str, float]:
    """Train on one list of batches an optimiser step; a line every 100 steps to `metrics.jsonl`, the last returned."""
    matrices = [p for n, p in net.named_parameters() if p.dim() == 2 and "embed" not in n]
    others = [p for n, p in net.named_parameters() if p.dim() != 2 or "embed" in n]
    adam = torch.optim.AdamW(others, settings.vector_rate, (0.9, 0.98), weight_decay=0.0)
    optimizers = {settings.matrix_rate: Muon(matrices, settings.matrix_rate), settings.vector_rate: adam}
    settings.output.mkdir(parents=True, exist_ok=True)
    with Log(settings.output / "metrics.jsonl") as log:
        for step, parts in zip(range(settings.steps), updates, strict=False):
            for peak, optimizer in optimizers.items():
                for group in optimizer.param_groups:
                    group["lr"] = peak * rate(settings, step)
            _update(net, parts, list(optimizers.values()), log)
            if (step + 1) % 100 == 0:
                log.write(step + 1)
    return log.last


class Log:
    """Sums of loss and weighted next-token accuracy between two lines of `metrics.jsonl`."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")
        self._sums: Counter[str] = Counter()
        self._kinds: dict[str, None] = {}
        self._started = time.time(), time.process_time()
        self.last: dict[str, float] = {}
        self.tokens = 0

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, batch: Batch, loss: torch.Tensor, logits: torch.Tensor) -> None:
        """Count one batch; `loss` is its sum, not its mean. Accuracy is over what an assistant wrote."""
        written = batch.weights[:, 1:] * (batch.weights[:, 1:] >= 1)
        hits = (logits.argmax(-1) == batch.ids[:, 1:]) * written
        sums = {"loss": loss, "weight": batch.weights[:, 1:].sum(), "hits": hits.sum(), "written": written.sum()}
        self._kinds[batch.kind] = None
        for name, value in sums.items():
            self._sums[f"{batch.kind}_{name}"] += float(value)  # type: ignore[assignment]
        self.tokens += int((batch.ids != 0).sum())

    def write(self, step: int) -> None:
        """One line; times are in seconds since the start."""
        line: dict[str, float] = {"step": step}
        for kind in self._kinds:
            line[f"{kind}_loss"] = round(self._sums[f"{kind}_loss"] / (self._sums[f"{kind}_weight"] or 1), 5)
            line[f"{kind}_accuracy"] = round(self._sums[f"{kind}_hits"] / (self._sums[f"{kind}_written"] or 1), 5)
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


def card(name: str, about: str, settings: Settings, last: Mapping[str, float]) -> str:
    """The model card: how the checkpoint was made."""
    fields = "\n".join(f"- {field}: {value}" for field, value in settings.model_dump(mode="json").items())
    return f"# {name}\n\n{about}\n\n## Settings\n{fields}\n\n## End of training\n{json.dumps(last)}\n"
